"""libddpm from Python: the standard library is enough.

    import ddpm
    with ddpm.Context() as ctx, ctx.open("fashion") as model:
        pixels = model.sample(4, steps=10)          # bytes [4, height, width, channels]
        image = numpy.frombuffer(pixels, "uint8").reshape(4, *model.shape)

ddpm.h explains what the functions mean. A run of this file writes images:
python3 ddpm.py MODEL SEED OUT.ppm. DDPM_LIBRARY names the library's file where the loader does not find it.
"""
import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p

_lib = ctypes.CDLL(os.environ.get("DDPM_LIBRARY", "libddpm.so.0"))
STOPPED = 9


class Error(Exception):
    def __init__(self, status):
        super().__init__(_lib.ddpm_last_error().decode(errors="replace"))
        self.status = status


class _Progress(ctypes.Structure):
    _fields_ = [("what", c_char_p), ("unit", c_char_p), ("detail", c_char_p), ("done", c_int64), ("total", c_int64), ("per_second", c_double),
                ("eta_seconds", c_double), ("quantity", c_char_p), ("value", c_double), ("reserved", c_void_p * 4)]


_Message = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_ProgressFn = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_Progress))


class _CtxConfig(ctypes.Structure):
    _fields_ = [("threads", c_int32), ("device", c_char_p), ("precision", c_char_p), ("max_isa", c_char_p), ("message", _Message), ("user", c_void_p),
                ("reserved", c_void_p * 8)]


class _ModelInfo(ctypes.Structure):
    _fields_ = [(name, c_int32) for name in ("height", "width", "channels", "in_channels", "out_channels", "small_size", "classes", "null_class", "timesteps")]
    _fields_ += [("parameters", c_int64), ("step", c_int64)]
    _fields_ += [(name, c_char_p) for name in ("prediction", "variance", "weights", "kind", "path", "fingerprint")] + [("reserved", c_void_p * 8)]


class _SampleConfig(ctypes.Structure):
    _fields_ = [("n", c_int32), ("first", c_uint64), ("seeds", POINTER(c_uint64)), ("labels", POINTER(c_int32)), ("latents", POINTER(c_float)),
                ("options", c_void_p), ("progress", _ProgressFn), ("user", c_void_p), ("reserved", c_void_p * 8)]


class _Call(ctypes.Structure):
    _fields_ = [("options", c_void_p), ("progress", _ProgressFn), ("user", c_void_p), ("reserved", c_void_p * 8)]


class _TrainResult(ctypes.Structure):
    _fields_ = [(name, c_int64) for name in ("step", "dropped", "parameters", "bad_images")] + [("reserved", c_void_p * 8)]


class _NllResult(ctypes.Structure):
    _fields_ = [(name, c_double) for name in ("bits_per_dim", "standard_error", "prior", "diffusion", "decoder", "rmse")]
    _fields_ += [(name, c_int64) for name in ("images", "bad_images", "terms", "timesteps")] + [("reserved", c_void_p * 8)]


def _declare(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype = result
    function.argtypes = arguments


for _name, _result, *_arguments in (
        ("ddpm_last_error", c_char_p), ("ddpm_version", c_char_p),
        ("ddpm_ctx_config_defaults", None, POINTER(_CtxConfig)), ("ddpm_ctx_new", c_int, POINTER(_CtxConfig), POINTER(c_void_p)), ("ddpm_ctx_free", None, c_void_p),
        ("ddpm_options_new", c_int, c_char_p, POINTER(c_void_p)), ("ddpm_options_free", None, c_void_p), ("ddpm_options_set", c_int, c_void_p, c_char_p, c_char_p),
        ("ddpm_model_open", c_int, c_void_p, c_char_p, c_void_p, POINTER(c_void_p)), ("ddpm_model_close", None, c_void_p),
        ("ddpm_model_get_info", None, c_void_p, POINTER(_ModelInfo)),
        ("ddpm_sample_config_defaults", None, POINTER(_SampleConfig)), ("ddpm_sample", c_int, c_void_p, POINTER(_SampleConfig), POINTER(c_uint8), c_size_t),
        ("ddpm_call_defaults", None, POINTER(_Call)), ("ddpm_nll", c_int, c_void_p, c_char_p, POINTER(_Call), POINTER(_NllResult)),
        ("ddpm_train", c_int, c_void_p, c_char_p, POINTER(_Call), POINTER(_TrainResult))):
    _declare(_name, _result, *_arguments)


def _check(status):
    if status:
        raise Error(status)


def _text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _numbers(struct):
    return {name: getattr(struct, name) for name, _ in struct._fields_ if name != "reserved"}


class _Options:
    """Settings of a command, given as keyword arguments; class_ stands for class."""

    def __init__(self, command, settings):
        self.handle = c_void_p()
        _check(_lib.ddpm_options_new(command.encode(), byref(self.handle)))
        try:
            for name, value in settings.items():
                _check(_lib.ddpm_options_set(self.handle, name.rstrip("_").encode(), os.fsencode(_text(value))))
        except BaseException:
            _lib.ddpm_options_free(self.handle)
            raise

    def __enter__(self):
        return self.handle

    def __exit__(self, *_):
        _lib.ddpm_options_free(self.handle)


class _Listener:
    """A Python function as the library's callback; what it raises stops the work and is raised again."""

    def __init__(self, function):
        self.function, self.raised = function, None
        self.callback = _ProgressFn(self.call) if function else _ProgressFn()

    def call(self, _, progress):
        try:
            return bool(self.function(_numbers(progress.contents)))
        except BaseException as error:
            self.raised = error
            return True

    def check(self, status):
        if self.raised:
            raise self.raised
        _check(status)


class Context:
    """Threads and kernels. settings: threads, device, precision, max_isa."""

    def __init__(self, threads=0, device=None, precision=None, max_isa=None):
        config = _CtxConfig()
        _lib.ddpm_ctx_config_defaults(byref(config))
        config.threads = threads
        config.device, config.precision, config.max_isa = (word.encode() if word else None for word in (device, precision, max_isa))
        self.handle = c_void_p()
        _check(_lib.ddpm_ctx_new(byref(config), byref(self.handle)))

    def close(self):
        _lib.ddpm_ctx_free(self.handle)
        self.handle = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self, spec, **settings):
        return Model(self, spec, settings)

    def train(self, data, progress=None, **settings):
        """Trains in the run folder `output`; {"step": ..., ...}. progress(dict) returns True to stop."""
        call, result, listener = _Call(), _TrainResult(), _Listener(progress)
        _lib.ddpm_call_defaults(byref(call))
        call.progress = listener.callback
        with _Options("train", settings) as options:
            call.options = options
            status = _lib.ddpm_train(self.handle, os.fsencode(data), byref(call), byref(result))
        listener.check(0 if status == STOPPED and not listener.raised else status)
        return _numbers(result)


class Model:
    def __init__(self, context, spec, settings):
        self.context, self.handle, info = context, c_void_p(), _ModelInfo()
        with _Options("sample", settings) as options:
            _check(_lib.ddpm_model_open(context.handle, os.fsencode(spec), options, byref(self.handle)))
        _lib.ddpm_model_get_info(self.handle, byref(info))
        self.info = {name: value.decode() if isinstance(value, bytes) else value for name, value in _numbers(info).items()}
        self.shape = (info.height, info.width, info.channels)

    def close(self):
        _lib.ddpm_model_close(self.handle)
        self.handle = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def sample(self, n, seeds=None, labels=None, progress=None, first=0, **settings):
        """n images as bytes [n, height, width, channels]."""
        size = n * self.shape[0] * self.shape[1] * self.shape[2]
        config, pixels, listener = _SampleConfig(), (c_uint8 * size)(), _Listener(progress)
        _lib.ddpm_sample_config_defaults(byref(config))
        config.n, config.first, config.progress = n, first, listener.callback
        for name, values, kind in (("seeds", seeds, c_uint64), ("labels", labels, c_int32)):
            if values is not None and len(values) != n:
                raise ValueError(f"{len(values)} {name} for {n} images")
            if values is not None:
                setattr(config, name, (kind * n)(*values))
        with _Options("sample", settings) as options:
            config.options = options
            listener.check(_lib.ddpm_sample(self.handle, byref(config), pixels, size))
        return bytes(pixels)

    def nll(self, data, progress=None, **settings):
        """Bits per dimension of images and its parts: {"bits_per_dim": ..., ...}."""
        call, result, listener = _Call(), _NllResult(), _Listener(progress)
        _lib.ddpm_call_defaults(byref(call))
        call.progress = listener.callback
        with _Options("nll", settings) as options:
            call.options = options
            listener.check(_lib.ddpm_nll(self.handle, os.fsencode(data), byref(call), byref(result)))
        return _numbers(result)


def main(spec, seed, out):
    with Context() as context, context.open(spec) as model:
        height, width, channels = model.shape
        pixels = model.sample(4, seed=seed, steps=10)
    with open(out, "wb") as file:
        file.write(b"P%d %d %d 255\n" % (5 if channels == 1 else 6, width, 4 * height) + pixels)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python3 ddpm.py MODEL SEED OUT.ppm")
    try:
        main(*sys.argv[1:])
    except (Error, OSError) as error:
        sys.exit(f"ddpm.py: {error}")
