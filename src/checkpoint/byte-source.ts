/**
 * Where bytes come from: a file, an HTTP address that serves ranges, or memory. Reading is lazy; a source holds no bytes of its own.
 * Every implementation passes byte-source.contract.ts.
 */

/** A real file on disk, for an engine that maps it instead of reading it. Never a symbolic link. */
export interface FileLocation {
  readonly folder: string;
  readonly fileName: string;
}

/** Random access to an immutable run of bytes. */
export interface ByteSource {
  /** Path or address, for messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** The file on disk, if there is one. */
  readonly file: FileLocation | undefined;
  /**
   * Reads exactly `length` bytes at `offset` into fresh memory.
   *
   * Errors: CheckpointError when the range is not inside the source or the source became shorter; DownloadError over HTTP.
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Begins to bring a range into the system's page cache, without waiting; a hint, of which nothing is heard. */
  prefetch?(offset: number, length: number): void;
  /** Releases the file handle or connection; reading afterwards is a defect. */
  close(): Promise<void>;
}

/** A folder of a checkpoint: on disk, or a set of addresses. */
export interface Folder {
  /** Path or address, for messages. */
  readonly name: string;
  /** Opens a file by its path relative to the folder ("transformer/config.json"), or returns undefined if it is not there. */
  open(path: string): Promise<ByteSource | undefined>;
  /** Paths of all files below the folder, relative, with "/" between names, sorted. */
  list(): Promise<readonly string[]>;
}
