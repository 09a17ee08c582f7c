/** The runs that bench/memory.ts measures: true-size checkpoints under budgets that a cgroup enforces. */

/** A run. */
export interface MemoryRow {
  readonly name: string;
  /** Folder of the checkpoint under the one that bench/memory.ts is given. */
  readonly checkpoint: string;
  readonly qtype: string | undefined;
  readonly size: number;
  readonly steps: number;
  /** The limit of the cgroup, and what the pipeline is told. */
  readonly budgetBytes: number;
  readonly hold?: "resident" | "streamed";
  /** Text encoders. */
  readonly parts?: number;
  /** What Python takes for it, as far as it is known. */
  readonly python: string;
}

const PIXART = { checkpoint: "pixart", size: 1024, steps: 1 } as const;

/** All of them. */
export const MEMORY_ROWS: readonly MemoryRow[] = [
  { ...PIXART, name: "pixart-int8", qtype: "qint8", budgetBytes: 1.6e9, hold: "resident", python: "5.363 GB (GPU)" },
  { ...PIXART, name: "pixart-int8-1GB", qtype: "qint8", budgetBytes: 1e9, python: "impossible" },
  { ...PIXART, name: "pixart-int4", qtype: "qint4", budgetBytes: 1.2e9, python: "3.058 GB (GPU)" },
  {
    name: "sd3-int8",
    checkpoint: "sd3",
    qtype: "qint8",
    size: 1024,
    steps: 1,
    budgetBytes: 3.2e9,
    hold: "resident",
    parts: 3,
    python: "8.2 GB (GPU, fp8)",
  },
  {
    name: "sd3-int8-2GB",
    checkpoint: "sd3",
    qtype: "qint8",
    size: 1024,
    steps: 1,
    budgetBytes: 2e9,
    hold: "streamed",
    parts: 3,
    python: "",
  },
  {
    name: "auraflow-int4",
    checkpoint: "auraflow",
    qtype: "transformer=qint4",
    size: 1024,
    steps: 1,
    budgetBytes: 5e9,
    hold: "resident",
    python: "does not load in 24 GB",
  },
  {
    name: "auraflow-int4-2GB",
    checkpoint: "auraflow",
    qtype: "transformer=qint4",
    size: 1024,
    steps: 1,
    budgetBytes: 2e9,
    hold: "streamed",
    python: "",
  },
];
