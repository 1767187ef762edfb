"""crowd.py - threads that do something beside a test, and figures that a busy machine does not spoil.

Touches  threads that it joins.
Never    loses what one of them failed of.
"""
import concurrent.futures
import contextlib
import threading


@contextlib.contextmanager
def beside(count, work):
    """Runs work(stop, number) in so many threads until the block ends; what fails there fails here."""
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        running = [pool.submit(work, stop, number) for number in range(count)]
        try:
            yield
        finally:
            stop.set()
    for one in running:
        one.result()


def middle(values):
    return sorted(values)[len(values) // 2]


def quick(values):
    """What one of ten stays below: load adds to most of them, what waits adds to all."""
    return sorted(values)[len(values) // 10]
