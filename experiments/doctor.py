"""Says what this machine has, what the runtime chose, and how fast that is.

  python -m experiments.doctor

It trains a few rounds of two models on random images with the in-process
runtime, and looks which devices did the work.
"""

import glob
import importlib.metadata
import os
import platform
import sys
import time
from typing import Any

from absl import flags

from experiments import entry
from tff_cnn import runtime
from tff_cnn.config import RunConfig
from tff_cnn.runtime import devices

_PACKAGES = ("tensorflow", "tensorflow-federated", "tensorflow-privacy")
_MEASURED_ROUNDS = 3
_RUNTIME = runtime.RUNTIMES.entry_of(RunConfig().runtime).name
_INSTALL_GPU = "bash .requirements/install.sh gpu"

_DEVICES = flags.DEFINE_list("devices", None, "As of experiments.train.")


def main(argv: list[str]) -> None:
    """Prints the report; status 1 where a GPU is there but stays idle."""
    del argv
    if _DEVICES.value is not None:
        devices.check_names(_DEVICES.value)
    print(f"Python {platform.python_version()} ({sys.executable})")
    for package in _PACKAGES:
        print(f"{package} {importlib.metadata.version(package)}")
    print(f"CPU: {len(os.sched_getaffinity(0))} cores for this process")
    runtime.prepare(_RUNTIME, devices=_DEVICES.value)
    gpus = _report_gpus()
    used = _report_rounds()
    idle = [gpu for gpu in gpus if gpu not in used]
    if _DEVICES.value:
        idle = [gpu for gpu in idle if gpu in _DEVICES.value]
    if idle:
        print(f"PROBLEM: {', '.join(idle)} did no work in these rounds.")
        sys.exit(1)
    if gpus:
        print(f"All is well: {', '.join(used)} trained the clients.")


def _report_gpus() -> list[str]:
    """Prints CUDA libraries and GPUs; returns TensorFlow's names of these."""
    import tensorflow as tf

    wheels = sorted(
        distribution.metadata["Name"]
        for distribution in importlib.metadata.distributions()
        if (distribution.metadata["Name"] or "").startswith("nvidia-")
    )
    version = tf.sysconfig.get_build_info().get("cuda_version", "none")
    print(
        f"CUDA: TensorFlow was built for {version}; libraries installed with "
        f"pip: {', '.join(wheels) or 'none'}"
    )
    hardware = sorted(glob.glob("/dev/nvidia[0-9]*"))
    names = []
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        name = device.name.removeprefix("/physical_device:")
        names.append(name)
        print(f"{name}: {details.get('device_name', 'unknown model')}")
    if hardware and not names:
        print(
            f"PROBLEM: the system has {', '.join(hardware)}, but TensorFlow "
            f"sees no GPU: run `{_INSTALL_GPU}`; if that was done, the driver "
            "is older than CUDA 11.8 needs (450)."
        )
    elif not names:
        print("GPUs: none seen; clients are trained on the CPU.")
    return names


def _report_rounds() -> list[str]:
    """Trains; prints choices and speed; returns the devices that worked."""
    from experiments.benchmarks import contenders

    worked: set[str] = set()
    for name, job in contenders.JOBS.items():
        with contenders.ours(
            job, _RUNTIME, devices=_DEVICES.value
        ) as one_round:
            context = runtime.current()
            seconds = []
            for _ in range(1 + _MEASURED_ROUNDS):
                started = time.perf_counter()
                one_round()
                seconds.append(time.perf_counter() - started)
            worked |= context.schedule.worked
            rounds = 1 / min(seconds[1:])
            print(f"\n{name}: {_describe(job)}")
            print(f"  {_describe_choice(context.schedule)}")
            print(
                f"  {rounds * job.num_examples:,.0f} examples/s, "
                f"{rounds * job.num_clients:,.1f} clients/s (first "
                f"round, with compiling: {seconds[0]:.1f} s)"
            )
    return sorted(worked)


def _describe(job: Any) -> str:
    height, width, channels = job.image_shape
    return (
        f"{job.num_clients} clients of {job.examples_per_client} images "
        f"{height}x{width}x{channels}, batches of {job.batch_size}"
    )


def _describe_choice(schedule: Any) -> str:
    text = (
        f"on {', '.join(sorted(schedule.worked))}, {schedule.threads} calls at "
        f"a time, clients per step: {schedule.last_size}"
    )
    if schedule.last_reason:
        text += f" (not more: {schedule.last_reason})"
    elif schedule.last_size == 1:
        text += " (large models are faster one client at a time on a CPU)"
    return text


if __name__ == "__main__":
    entry.run(main)
