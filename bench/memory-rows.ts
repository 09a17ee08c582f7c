/** The runs that bench/memory.ts measures: true-size checkpoints under budgets that a cgroup enforces. */

/** A run, by halftone and by its twin. */
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
  /**
   * What reference/peer.py is told beside qtype, size and steps to make the same picture with diffusers and Quanto on a machine of 24 GB:
   * dtypes in which the checkpoint can be loaded before it is quantized. Absent where another row has the same twin.
   */
  readonly twin?: readonly string[];
}

const PIXART = { checkpoint: "pixart", size: 1024, steps: 1 } as const;
/** T5-XXL takes 19 GB in float32. */
const SMALL_T5 = ["--t5-dtype", "bfloat16"];

/** All of them. */
export const MEMORY_ROWS: readonly MemoryRow[] = [
  { ...PIXART, name: "pixart-int8", qtype: "qint8", budgetBytes: 1.6e9, hold: "resident", twin: SMALL_T5 },
  { ...PIXART, name: "pixart-int8-1GB", qtype: "qint8", budgetBytes: 1e9 },
  { ...PIXART, name: "pixart-int4", qtype: "qint4", budgetBytes: 1.2e9, twin: SMALL_T5 },
  {
    name: "sd3-int8",
    checkpoint: "sd3",
    qtype: "qint8",
    size: 1024,
    steps: 1,
    budgetBytes: 3.2e9,
    hold: "resident",
    parts: 3,
    twin: SMALL_T5,
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
  },
  {
    name: "auraflow-int4",
    checkpoint: "auraflow",
    qtype: "transformer=qint4",
    size: 1024,
    steps: 1,
    budgetBytes: 5e9,
    hold: "resident",
    // 27 GB in float32.
    twin: ["--dtype", "bfloat16"],
  },
  {
    name: "auraflow-int4-2GB",
    checkpoint: "auraflow",
    qtype: "transformer=qint4",
    size: 1024,
    steps: 1,
    budgetBytes: 2e9,
    hold: "streamed",
  },
];
