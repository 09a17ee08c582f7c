import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { CancelledError } from "../errors.ts";
import { Queue } from "./queue.ts";

/** Lets everything that is ready to run do so. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A signal that counts who listens. */
function countedSignal() {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (type: string, listener: EventListenerOrEventListenerObject, options?: AddEventListenerOptions | boolean) => {
    listeners.add(listener);
    add(type, listener, options);
  };
  signal.removeEventListener = (type: string, listener: EventListenerOrEventListenerObject) => {
    listeners.delete(listener);
    remove(type, listener);
  };
  return { controller, signal, listeners };
}

describe("a queue", () => {
  it("lets one request at a time through, in the order in which they came", async () => {
    const queue = new Queue();
    const log: string[] = [];
    let inside = 0;
    let most = 0;
    const request = async (name: string) => {
      const leave = await queue.enter();
      most = Math.max(most, ++inside);
      log.push(`${name} in`);
      await settle();
      log.push(`${name} out`);
      inside--;
      leave();
    };
    await Promise.all([request("a"), request("b"), request("c")]);
    expect(most).toBe(1);
    expect(log).toEqual(["a in", "a out", "b in", "b out", "c in", "c out"]);
  });

  it("wakes a waiting request by its signal at once, and keeps the others waiting for their turn", async () => {
    const queue = new Queue();
    const log: string[] = [];
    const leaveFirst = await queue.enter();
    const controller = new AbortController();
    const second = caught(queue.enter(controller.signal)).then((error) => {
      log.push("second");
      return error;
    });
    const third = queue.enter().then((leave) => {
      log.push("third");
      return leave;
    });
    await settle();
    expect(log).toEqual([]);
    controller.abort();
    await settle();
    // The first is still in: its turn has not ended.
    expect(log).toEqual(["second"]);
    expect(await second).toEqual({ kind: "CancelledError", message: "stopped on request while waiting for another picture" });
    leaveFirst();
    (await third)();
    expect(log).toEqual(["second", "third"]);
  });

  it("gives the signal's reason as the cause", async () => {
    const queue = new Queue();
    const leave = await queue.enter();
    const controller = new AbortController();
    const waiting = queue.enter(controller.signal).catch((error: unknown) => error);
    controller.abort("enough");
    const error = await waiting;
    expect(error).toBeInstanceOf(CancelledError);
    expect((error as CancelledError).cause).toBe("enough");
    leave();
  });

  it("refuses a signal that was raised before, even when nobody else is there, and lets the next in", async () => {
    const queue = new Queue();
    const error = await caught(queue.enter(AbortSignal.abort()));
    expect(error.kind).toBe("CancelledError");
    (await queue.enter())();
  });

  it("lets the next in after the last of several waiting requests gave up", async () => {
    const queue = new Queue();
    const leave = await queue.enter();
    const controller = new AbortController();
    const given = [caught(queue.enter(controller.signal)), caught(queue.enter(controller.signal))];
    const last = queue.enter();
    controller.abort();
    await Promise.all(given);
    leave();
    (await last)();
  });

  it("leaves no listener behind on a signal, whether a request got its turn or was stopped", async () => {
    const queue = new Queue();
    const served = countedSignal();
    const leave = await queue.enter(served.signal);
    expect(served.listeners.size).toBe(0);
    const waits = countedSignal();
    const waiting = queue.enter(waits.signal);
    const stopped = countedSignal();
    const refused = caught(queue.enter(stopped.signal));
    await settle();
    expect([waits.listeners.size, stopped.listeners.size]).toEqual([1, 1]);
    stopped.controller.abort();
    await refused;
    expect(stopped.listeners.size).toBe(0);
    leave();
    (await waiting)();
    expect(waits.listeners.size).toBe(0);
  });
});
