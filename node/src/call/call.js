// Calls a function by its name and writes what it returns, or resolves to, as JSON: node -e THIS -- MODULE:NAME [JSON].
//
// What else it prints goes to standard error. Why a call could not be made, or what the function threw, is written to the file that
// AQUE_CALL names: `call` or `work` in the first line, the reason in the second.
"use strict";

(async () => {
  const fs = require("fs");
  const { createRequire } = require("module");
  const { pathToFileURL } = require("url");

  // A file that is opened gets the lowest number that is free: 1 becomes another of standard error.
  const out = fs.openSync("/proc/self/fd/1", "a");
  fs.closeSync(1);
  fs.openSync("/proc/self/fd/2", "a");
  const told = process.env.AQUE_CALL;
  delete process.env.AQUE_CALL;
  const reserved = [240, 241, 242, 243];
  let settled = false;

  const tell = (kind, why) => {
    if (told) fs.writeFileSync(told, `${kind}\n${String(why).split(/\s+/).join(" ").trim()}\n`);
  };
  const refuse = (code, why) => {
    settled = true;
    tell("call", why);
    console.error(`aque: call: ${why}`);
    process.removeAllListeners("exit");
    process.exit(code);
  };
  const lastLine = (error) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));
  const answer = (text) => {
    settled = true;
    fs.writeFileSync(out, `${text}\n`);
  };

  process.on("exit", (code) => {
    if (reserved.includes(code)) {
      tell("work", `it exited with ${code}`);
      process.exitCode = 1;
    } else if (code === 0 && !settled) {
      answer("null");
    }
  });
  process.on("beforeExit", () => {
    if (!settled) {
      tell("work", "its promise was never settled");
      process.exit(1);
    }
  });

  const [target, text] = process.argv.slice(1);
  const colon = target.lastIndexOf(":");
  const [moduleName, name] = [target.slice(0, colon), target.slice(colon + 1)];
  let args = [];
  if (text !== undefined) {
    let parsed;
    try {
      parsed = JSON.parse(text);
    } catch (error) {
      refuse(240, `its arguments are no JSON: ${error.message}`);
    }
    if (typeof parsed !== "object" || parsed === null) {
      refuse(240, "its arguments are neither a JSON array nor an object");
    }
    args = Array.isArray(parsed) ? parsed : [parsed];
  }

  const here = createRequire(`${process.cwd()}/`);
  const resolved = [moduleName, `./${moduleName}`].map((id) => {
    try {
      return here.resolve(id);
    } catch {
      return undefined;
    }
  });
  const path = resolved.find((path) => path !== undefined);
  if (path === undefined) refuse(241, `no module ${moduleName}`);
  let loaded;
  try {
    try {
      loaded = here(path);
    } catch (error) {
      if (!["ERR_REQUIRE_ESM", "ERR_REQUIRE_ASYNC_MODULE"].includes(error?.code)) throw error;
      loaded = await import(pathToFileURL(path));
    }
  } catch (error) {
    console.error(error);
    refuse(241, `module ${moduleName} cannot be loaded: ${lastLine(error)}`);
  }
  const find = (from) => {
    let [owner, found] = [undefined, from];
    for (const part of name.split(".")) [owner, found] = [found, found?.[part]];
    return [owner, found];
  };
  let [owner, found] = find(loaded);
  if (found === undefined) [owner, found] = find(loaded?.default);
  if (found === undefined) refuse(241, `no function ${name} in module ${moduleName}`);
  if (typeof found !== "function") refuse(241, `${name} in module ${moduleName} is no function`);

  let result;
  try {
    result = await found.apply(owner, args);
  } catch (error) {
    console.error(error);
    settled = true;
    tell("work", lastLine(error));
    process.exit(1);
  }
  let json;
  try {
    json = result === undefined ? "null" : JSON.stringify(result);
    if (json === undefined) throw new TypeError(`a ${typeof result} has no JSON`);
  } catch (error) {
    refuse(243, `its result is no JSON: ${error.message}`);
  }
  answer(json);
})();
