"use strict";

// In a worker: computes one grid for each slot at a time; a newer task ends the older one.

const programs = [];
const latest = new Map(); // by slot: the number of the newest task

self.onmessage = ({ data }) => {
  if (data.programs) {
    programs.push(...data.programs.map((program) => new Program(program, data.weights)));
    return;
  }
  const { number, slot, task } = data;
  latest.set(slot, number);
  if (!task) return;
  const fail = (error) => self.postMessage({ number, slot, error: String(error) });
  overGrid(programs[task.program], task, (at, values) => {
    if (latest.get(slot) !== number) return false;
    self.postMessage({ number, slot, at, values }, [values.buffer]);
    return true;
  }).catch(fail);
};
