"""Calls a function by its name and writes what it returns as JSON: python -c THIS MODULE:NAME [JSON].

What else it prints goes to standard error. Why a call could not be made, or what the function raised, is written to the file that
AQUE_CALL names: `call` or `work` in the first line, the reason in the second.
"""


def run():
    import importlib
    import inspect
    import json
    import os
    import sys
    import traceback

    out = os.dup(1)
    os.dup2(2, 1)
    # In order with what children print, and as it comes for who follows.
    sys.stdout.reconfigure(line_buffering=True)
    told = os.environ.pop("AQUE_CALL", None)
    reserved = range(240, 244)

    def tell(kind, why):
        if told:
            with open(told, "w", encoding="utf-8", errors="replace") as file:
                file.write(kind + "\n" + " ".join(str(why).split()) + "\n")

    def refuse(code, why):
        tell("call", why)
        print("aque: call:", why, file=sys.stderr)
        sys.exit(code)

    def last_line(error):
        return traceback.format_exception_only(type(error), error)[-1].strip()

    target, *rest = sys.argv[1:]
    sys.argv = [target]
    module_name, _, name = target.rpartition(":")
    args, kwargs = [], {}
    if rest:
        try:
            arguments = json.loads(rest[0])
        except ValueError as error:
            refuse(240, "its arguments are no JSON: %s" % error)
        if isinstance(arguments, list):
            args = arguments
        elif isinstance(arguments, dict):
            kwargs = arguments
        else:
            refuse(240, "its arguments are neither a JSON array nor an object")

    try:
        found = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and (module_name + ".").startswith(missing + "."):
            refuse(241, "no module %s" % module_name)
        traceback.print_exc()
        refuse(241, "module %s cannot be imported: %s" % (module_name, last_line(error)))
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            refuse(241, "no function %s in module %s" % (name, module_name))
    if not callable(found):
        refuse(241, "%s in module %s is no function" % (name, module_name))
    try:
        inspect.signature(found).bind(*args, **kwargs)
    except TypeError as error:
        refuse(242, "its arguments do not bind: %s" % error)
    except ValueError:
        pass  # Some functions that are built in do not say what they take.

    try:
        result = found(*args, **kwargs)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        result, code = None, error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        if code and (code & 0xFF == 0 or code & 0xFF in reserved):
            tell("work", "it exited with %d" % code)
            code = 1
        if code:
            sys.exit(code)
    except BaseException as error:
        traceback.print_exception(type(error), error, error.__traceback__.tb_next)
        tell("work", last_line(error))
        sys.exit(1)

    try:
        text = json.dumps(result, allow_nan=False)
    except Exception as error:
        refuse(243, "its result is no JSON: %s" % error)
    with os.fdopen(out, "w", encoding="utf-8") as file:
        file.write(text + "\n")


run()
