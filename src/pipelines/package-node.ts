/** Where this package lies: two folders above this module, as source (src/pipelines/) and built (dist/library/, rolldown.config.ts). */
import { fileURLToPath } from "node:url";

/** Folder of package.json; what the code needs of the package's files is found from here. */
export const packageFolder: string = fileURLToPath(new URL("../..", import.meta.url));
