"""A process exits cleanly, whatever is still running in it."""

import os
import sys

import pytest

BEGIN = """
import asyncio, gc, os, sys, threading, time
from mullama import AsyncModel, Model
"""


def ends_well(python, script, **options):
    done = python(BEGIN + script, **options)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr
    assert "panicked" not in done.stderr
    return done.stdout.split()


def test_exit_with_an_open_model(python):
    script = """
model = Model("demo", n_threads=1)
stream = model.stream("One,", ignore_eos=True)
next(stream)
print("done")
"""
    assert ends_well(python, script) == ["done"]


def test_exit_during_a_generation_on_a_daemon_thread(python):
    script = """
model = Model("demo", context_size=60000, n_threads=1)
work = lambda: model.generate("One,", ignore_eos=True)
threading.Thread(target=work, daemon=True).start()
work = lambda: list(model.stream("One,", ignore_eos=True))
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
print("done")
"""
    assert ends_well(python, script) == ["done"]


def test_daemon_threads_end_without_output(python):
    script = """
model = Model("demo", context_size=60000, n_threads=1)
def generate():
    while True:
        model.generate("One,", ignore_eos=True)
def stream():
    while True:
        list(model.stream("One,", ignore_eos=True))
def tokenize():
    while True:
        model.tokenize("One,")
async def awaiting():
    mine = await AsyncModel.load("demo", context_size=60000, n_threads=1)
    while True:
        await mine.generate("One,", ignore_eos=True)
for work in (generate, stream, tokenize, lambda: asyncio.run(awaiting())):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
import atexit
@atexit.register
def last():
    # The thread that ends may still ask.
    try:
        model.generate("One,", max_tokens=1)
    except Exception as error:
        print(type(error).__name__)
print("done")
"""
    done = python(BEGIN + script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "done"


SUB_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

sub = interpreters.create()
interpreters.run_string(sub, CODE)
"""


@pytest.mark.parametrize("code", ["import mullama", "from mullama import *; m = Model('demo')"])
def test_exit_with_a_sub_interpreter(python, code):
    script = SUB_INTERPRETER.replace("CODE", repr(code)) + "print('done')"
    assert ends_well(python, script) == ["done"]


def test_sub_interpreter_exit_does_not_close_models(python):
    script = """
model = Model("demo", n_threads=1)
stream = model.stream("One,", ignore_eos=True)
CREATE
interpreters.destroy(sub)
next(stream)
print(asyncio.run(AsyncModel("demo").generate("One,", max_tokens=1)).finish_reason)
""".replace("CREATE", SUB_INTERPRETER.replace("CODE", "'import mullama'"))
    assert ends_well(python, script) == ["length"]


@pytest.mark.parametrize("attempt", range(3))
def test_exit_with_an_abandoned_event_loop(python, attempt):
    script = """
async def main():
    global model, stream, tasks
    model = await AsyncModel.load("demo", context_size=60000, n_threads=1)
    tasks = [asyncio.create_task(model.generate("One,", ignore_eos=True)) for _ in range(2)]
    stream = model.stream("One,", ignore_eos=True)
    await anext(stream)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
print("done")
asyncio.run(model.generate("One,", max_tokens=1))
if ATTEMPT == 1:
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
if ATTEMPT == 2:
    os._exit(0)
""".replace("ATTEMPT", str(attempt))
    assert ends_well(python, script)[:1] == ["done"]


def test_results_do_not_arrive_during_shutdown(python):
    """Threads that notify the event loop of a result must have left Python when it shuts down."""
    script = """
async def main():
    model = AsyncModel("demo", n_threads=1)
    await asyncio.gather(*(model.generate("One,", max_tokens=n) for n in range(1, 9)))

asyncio.run(main())
print("done")
"""
    for _ in range(5):
        assert ends_well(python, script) == ["done"]


def test_exit_while_loading(python):
    script = """
def progress(_):
    sys.exit(0)
Model("demo", progress=progress)
print("not reached")
"""
    assert ends_well(python, script) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_processes_report_a_closed_model(python):
    """The engine's threads are not copied: waiting for them would never end."""
    script = """
import warnings
warnings.simplefilter("ignore")
from mullama import ClosedError
model = Model("demo", n_threads=1)
stream = model.stream("One,", ignore_eos=True)
next(stream)
child = os.fork()
if child == 0:
    for call in (lambda: model.generate("x"), lambda: next(stream), lambda: model.tokenize("x")):
        try:
            call()
        except ClosedError as error:
            assert "fork" in str(error)
    assert model.architecture == "llama"
    del stream, model, call
    gc.collect()
    print("child", flush=True)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print("parent", model.generate("One,", max_tokens=1).usage.completion_tokens)
"""
    assert ends_well(python, script) == ["child", "parent", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_models_are_freed(python):
    # A demo model in use takes 14 MB; the allocator caches one or two such blocks in each arena.
    script = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def threads():
    return len(os.listdir("/proc/self/task"))

def cycle():
    model = Model("demo", n_threads=1)
    model.generate("One,", max_tokens=2)
    model.stream("One,", ignore_eos=True)
    asyncio.run(AsyncModel("demo", n_threads=1).generate("One,", max_tokens=2))

for _ in range(5):
    cycle()
gc.collect()
before = resident(), threads()
for _ in range(25):
    cycle()
gc.collect()
after = resident(), threads()
print(after[0] - before[0] < 50 << 20, after[1] <= before[1])
"""
    assert ends_well(python, script) == ["True", "True"]


def test_abandoned_streams_log_no_errors(python):
    """Nothing is logged if a program just stops reading."""
    script = """
with Model("demo", n_threads=1) as model:
    for _ in range(10):
        for _ in model.stream("One,", ignore_eos=True):
            break
    model.generate("One,", max_tokens=1)
"""
    done = python(BEGIN + script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there are no affinity masks")
def test_no_more_threads_compute_than_processors(python):
    script = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def threads(n):
    with Model("demo", n_threads=n, n_threads_batch=n) as model:
        model.generate("One,", max_tokens=4)
        print(len(os.listdir("/proc/self/task")))
for n in (1, 8, 8):
    threads(n)
"""
    done = python(BEGIN + script)
    assert done.returncode == 0, done.stderr
    counts = done.stdout.split()
    assert len(counts) == 3
    assert len(set(counts)) == 1
    (warning,) = done.stderr.splitlines()
    assert "8 threads were requested" in warning
    assert "may use 1 processor: using 1 thread" in warning


def test_invalid_log_levels_are_named(python):
    done = python("import mullama", env={**os.environ, "MULLAMA_LOG": "lots"})
    assert done.returncode == 0, done.stderr
    (warning,) = done.stderr.splitlines()
    assert 'MULLAMA_LOG is "lots", which is not a log level' in warning
