"""What goes wrong with NVIDIA's driver and its cards, and what to do about it."""

from typing import Final

import pynvml

# After one of these NVML knows no card any more: the next call starts it anew.
SESSION_ENDED: Final = frozenset({
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
})  # fmt: skip

_CARD_FAILED: Final = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "is lost: it has fallen off the bus"
    " (look for Xid lines in `dmesg`; a cold restart of the machine brings most back)",
    pynvml.NVML_ERROR_RESET_REQUIRED: "must be reset"
    " (stop what runs on it, then `nvidia-smi --gpu-reset`, or reboot)",
    pynvml.NVML_ERROR_GPU_NOT_FOUND: "is not there any more (look for Xid lines in `dmesg`)",
    pynvml.NVML_ERROR_IRQ_ISSUE: "gets no interrupts (look for NVRM lines in `dmesg`)",
    pynvml.NVML_ERROR_INSUFFICIENT_POWER: "has no external power (check its power cables)",
    pynvml.NVML_ERROR_NO_PERMISSION: "is closed to this user or container"
    " (check the rights on /dev/nvidia* and the container's devices)",
}

# Where one of these answers a question about one value, the trouble is larger than that value.
LARGER: Final = SESSION_ENDED | (_CARD_FAILED.keys() - {pynvml.NVML_ERROR_NO_PERMISSION})

_NO_DRIVER: Final = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded"
    " (`sudo modprobe nvidia` loads it, and `dmesg` says why it cannot; or run on CPU)",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA library and the loaded kernel module"
    " are of different versions, as after an update of the driver"
    " (reboot, or reload the kernel module and restart the fleet)",
    pynvml.NVML_ERROR_NO_PERMISSION: "this user may not talk to the NVIDIA driver"
    " (check the rights on /dev/nvidiactl; a container needs `--gpus all`)",
    pynvml.NVML_ERROR_UNKNOWN: "the NVIDIA driver fails without saying why"
    " (look for NVRM lines in `dmesg`; a container that has lost its devices must be restarted)",
}


def driver_trouble(error: pynvml.NVMLError) -> str:
    """Why there are no NVIDIA cards, and what to do about it."""
    if is_missing(error):
        return (
            "no NVIDIA driver found: libnvidia-ml.so.1 is missing"
            " (install the driver, or run on CPU)"
        )
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return f"the NVIDIA library does not load: {error.__context__} (install the driver anew)"
    return _NO_DRIVER.get(
        error.value,
        f"the NVIDIA driver does not answer: {error} (`nvidia-smi` and `dmesg` may say more)",
    )


def is_missing(error: pynvml.NVMLError) -> bool:
    """Whether there is no driver at all, as on machines without such cards.

    pynvml gives one code to a library that is missing and to one that does not load.
    """
    if error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return False
    cause = str(error.__context__ or "")
    return not cause or (cause.startswith("libnvidia-ml.so.1:") and "No such file" in cause)


def card_trouble(name: str, error: pynvml.NVMLError) -> str:
    """What is wrong with a card, or a slice of one, for people."""
    return f"{name} {_CARD_FAILED.get(error.value, f'cannot be read: {error}')}"


__all__ = ["LARGER", "SESSION_ENDED", "card_trouble", "driver_trouble", "is_missing"]
