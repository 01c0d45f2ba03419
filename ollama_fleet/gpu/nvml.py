"""NVIDIA cards through NVML, the library of the driver; with `faults` the importer of pynvml."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pynvml

from ollama_fleet.gpu import Gpu, GpuKind, GpuReading, GpuSample, Inventory, Vendor
from ollama_fleet.gpu.faults import Faults

_SYSFS: Final = Path("/sys/bus/pci/devices")

# After one of these NVML knows no card any more: the next call starts it anew.
_SESSION_ENDED: Final = frozenset({
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
_LARGER: Final = _SESSION_ENDED | (_CARD_FAILED.keys() - {pynvml.NVML_ERROR_NO_PERMISSION})

# The names of these changed in pynvml, the bits did not: by software, by hardware.
_HEAT: Final = 0x20 | 0x40

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


class NvmlGpus:
    """All NVIDIA cards that NVML shows, whatever CUDA_VISIBLE_DEVICES says: a `GpuSource`.

    Every call blocks, some for seconds on a driver in trouble, and calls come from one thread at
    a time. `sysfs` is the folder in which the kernel lists PCI devices.
    """

    def __init__(self, sysfs: Path = _SYSFS) -> None:
        self._sysfs = sysfs
        self._started = False
        self._uuids: dict[int, str] = {}  # by index, so that a lost card can still be named
        self._faults = Faults()

    def inventory(self) -> Inventory:
        """List the cards in index order, on a fresh start of NVML: it counts cards only then."""
        self.close()
        gpus: list[Gpu] = []
        notes: list[str] = []
        try:
            count = self._start()
            driver = _text(_ask("nvmlSystemGetDriverVersion"))
            for index in range(count):
                gpu, note = self._list_card(index, driver)
                gpus.extend(filter(None, [gpu]))
                notes.extend(filter(None, [note]))
        except pynvml.NVMLError as error:
            self.close()
            return Inventory(notes=(driver_trouble(error),))
        if not count:
            notes.append("the NVIDIA driver is loaded but finds no card (see `lspci` and `dmesg`)")
        return Inventory(gpus=tuple(gpus), notes=tuple(notes))

    def read(self) -> GpuSample:
        """Read every card once. A card that cannot be read is named in `error`."""
        readings: list[GpuReading] = []
        errors: list[str] = []
        try:
            for index in range(self._start()):
                reading, error_of_card = self._read_card(index)
                readings.extend(filter(None, [reading]))
                errors.extend(filter(None, [error_of_card]))
        except pynvml.NVMLError as error:
            self.close()
            down = error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
            return GpuSample(error=driver_trouble(error), down=down)
        return GpuSample(readings=tuple(readings), error="; ".join(errors))

    def close(self) -> None:
        """Let go of the driver; the next call takes it up again."""
        self._uuids.clear()  # a later start may number the cards anew
        self._faults.close()
        if self._started:
            self._started = False
            with suppress(pynvml.NVMLError):  # a driver that has gone away has nothing to let go
                pynvml.nvmlShutdown()

    def _start(self) -> int:
        """Start NVML unless it runs; the number of cards. Raises NVMLError."""
        if not self._started:
            pynvml.nvmlInit()
            self._started = True
        return cast("int", pynvml.nvmlDeviceGetCount())

    def _list_card(self, index: int, driver: str) -> tuple[Gpu | None, str]:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = self._uuids[index] = _uuid(handle)
            gpu = self._describe(index, uuid, handle, driver)
            mig_mode, *_ = _ask("nvmlDeviceGetMigMode", handle) or (None,)
        except pynvml.NVMLError as error:
            return None, self._card_trouble(index, error)
        if mig_mode == pynvml.NVML_DEVICE_MIG_ENABLE:
            return gpu, f"GPU {index} ({gpu.name}) is in MIG mode; its slices are not listed"
        if not gpu.memory_bytes:
            return gpu, f"GPU {index} ({gpu.name}) tells no memory size; it may share the system's"
        return gpu, ""

    def _describe(self, index: int, uuid: str, handle: Any, driver: str) -> Gpu:
        memory = _memory(handle)
        bus_id = _text(getattr(_ask("nvmlDeviceGetPciInfo", handle), "busId", ""))
        return Gpu(
            uuid=uuid,
            index=index,
            name=_text(_ask("nvmlDeviceGetName", handle)) or "NVIDIA GPU",
            vendor=Vendor.NVIDIA,
            memory_bytes=memory.total if memory else 0,
            driver=driver,
            kind=GpuKind.DISCRETE if memory else GpuKind.INTEGRATED,
            pci_bus_id=bus_id,
            numa_node=numa_node(self._sysfs, bus_id),
            display_active=bool(_ask("nvmlDeviceGetDisplayActive", handle)),
            reserved_bytes=getattr(memory, "reserved", 0),
        )

    def _read_card(self, index: int) -> tuple[GpuReading | None, str]:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = self._uuids[index] = _uuid(handle)
            reading = _reading(handle, uuid)
            fault = self._faults.of(handle, uuid)
            return replace(reading, faults=fault.count, last_fault=fault.number), ""
        except pynvml.NVMLError as error:
            trouble = self._card_trouble(index, error)
            uuid = self._uuids.get(index, "")
            lost = trouble if error.value in _LARGER else ""
            return (GpuReading(uuid, lost=lost) if uuid else None), trouble

    def _card_trouble(self, index: int, error: pynvml.NVMLError) -> str:
        """What is wrong with a card, for people. Raises the error if it is about all cards."""
        if error.value in _SESSION_ENDED:
            raise error
        uuid = self._uuids.get(index)
        name = f"GPU {index} ({uuid})" if uuid else f"GPU {index}"
        return f"{name} {_CARD_FAILED.get(error.value, f'cannot be read: {error}')}"


def driver_trouble(error: pynvml.NVMLError) -> str:
    """Why there are no NVIDIA cards, and what to do about it."""
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        # pynvml gives one code to a library that is missing and to one that does not load.
        cause = str(error.__context__ or "")
        missing = cause.startswith("libnvidia-ml.so.1:") and "No such file" in cause
        if cause and not missing:
            return f"the NVIDIA library does not load: {cause} (install the driver anew)"
        return (
            "no NVIDIA driver found: libnvidia-ml.so.1 is missing"
            " (install the driver, or run on CPU)"
        )
    return _NO_DRIVER.get(
        error.value,
        f"the NVIDIA driver does not answer: {error} (`nvidia-smi` and `dmesg` may say more)",
    )


def sysfs_address(bus_id: str) -> str:
    """The kernel's way to write NVML's PCI bus id: `00000000:3B:00.0` is `0000:3b:00.0`.

    Empty for what is no bus id.
    """
    domain, _, rest = bus_id.partition(":")
    try:
        return f"{int(domain, 16):04x}:{rest.lower()}"
    except ValueError:
        return ""


def numa_node(sysfs: Path, bus_id: str) -> int | None:
    """The NUMA node whose CPUs are nearest to a card; None where the kernel does not say.

    NVML's own node id is not asked: on coherent machines it names the card's memory instead.
    """
    address = sysfs_address(bus_id)
    if not address:
        return None
    try:
        node = int((sysfs / address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _uuid(handle: Any) -> str:
    """The identity of a card. Raises NVMLError, also for one that is garbled."""
    try:
        return _text(pynvml.nvmlDeviceGetUUID(handle))
    except UnicodeDecodeError:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN) from None


def _reading(handle: Any, uuid: str) -> GpuReading:
    memory = _memory(handle)
    rates = _ask("nvmlDeviceGetUtilizationRates", handle)
    temperature_c = _ask("nvmlDeviceGetTemperatureV", handle, pynvml.NVML_TEMPERATURE_GPU)
    if temperature_c is None:  # a driver, or a pynvml, from before that call
        temperature_c = _ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU)
    power_mw = _ask("nvmlDeviceGetPowerUsage", handle)
    processes = _ask("nvmlDeviceGetComputeRunningProcesses_v3", handle) or ()
    return GpuReading(
        uuid=uuid,
        memory_used_bytes=None if memory is None else memory.used,
        utilisation_ratio=None if rates is None else rates.gpu / 100,
        temperature_c=None if temperature_c is None else float(temperature_c),
        power_w=None if power_mw is None else power_mw / 1000,
        heat_throttled=_heat_throttled(handle),
        pids=tuple(sorted({process.pid for process in processes})),
    )


def _heat_throttled(handle: Any) -> bool | None:
    """Whether the driver or the card itself slows it down for its heat; None if it does not say."""
    reasons = _ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:  # a driver, or a pynvml, from before that name
        reasons = _ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if reasons is None else bool(reasons & _HEAT)


def _memory(handle: Any) -> Any | None:
    """`total`, `used` and, from newer drivers, `reserved`: what the driver keeps for itself.

    The older call counts the reserved part as used, so that an idle card never reads as empty.
    """
    newer = _ask("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
    return newer or _ask("nvmlDeviceGetMemoryInfo", handle)


def _ask(function: str, *arguments: object) -> Any | None:
    """One value by the name of its NVML call; None where it is refused or not known.

    By name, because NVIDIA takes calls out of pynvml too. Raises NVMLError only for what is
    wrong with the whole card or driver.
    """
    call = getattr(pynvml, function, None)
    if call is None:
        return None
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _LARGER:
            raise
        return None
    except UnicodeDecodeError:  # pynvml decodes strictly what a sick card may garble
        return None


def _text(value: str | bytes | None) -> str:
    """A name from pynvml, which gives some as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
