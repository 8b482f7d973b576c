// Runs a built program again and again in one process: starting Node costs more than most operations on small inputs.
// A request is the program's path and its arguments; a mark on both streams ends what it printed.
process.stdout.setMaxListeners(0);
process.stderr.setMaxListeners(0);
process.setMaxListeners(0);
let runs = 0;
process.on("message", async ({ program, args, mark }) => {
  process.exitCode = undefined;
  process.argv = [process.execPath, program, ...args];
  runs += 1;
  let failure = "";
  // a query makes the program's entry run anew
  await import(`${program}?run=${runs}`).catch((error) => {
    failure = `${error?.stack ?? error}\n`;
    process.exitCode = 70;
  });
  process.stderr.write(`${failure}${mark}`);
  process.stdout.write(`${mark}${process.exitCode ?? 0}${mark}`);
});
