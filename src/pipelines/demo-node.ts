/** The checkpoint that comes with the package: small, really trained, there for a first picture. */
import { join } from "node:path";
import { packageFolder } from "./package-node.ts";

/** Folder of the embedded checkpoint, in diffusers' layout. */
export const demoModelFolder: string = join(packageFolder, "models", "demo");
