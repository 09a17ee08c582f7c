/** The checkpoint that comes with the package: small, really trained, there for a first picture. */
import { fileURLToPath } from "node:url";

/** Folder of the embedded checkpoint, in diffusers' layout. */
export const demoModelFolder: string = fileURLToPath(new URL("../../models/demo", import.meta.url));
