"""Schedulers of diffusers, for src/schedulers: python reference/schedulers.py writes test/fixtures/schedulers.

Each case is a class, a config, and what a request asks for. Trajectories: the model's outputs and the fresh noise are given (`outputs`, `noise`,
row i at step i), `<case>/<steps>/samples` holds the start sample and the sample after every step. Schedules: timesteps and sigmas alone, for more
step counts. `notFinite` lists step counts for which diffusers itself divides by zero.

torch's square root, log and exp are MKL's, which rounds by processor: its AVX512 code gets 0.6 % of square roots wrong by an ulp, its AVX2
code none, but 7 % of logs and 4 % of exps. Sigmas are to be exact, so AVX2 it is. What the logs and exps do to the steps is measured by a twin
that takes each step with correctly rounded ones: `logRounding` holds, per trajectory, the largest relative RMS between the two. Outputs change
slowly from step to step, as a model's do: differences of unrelated ones would magnify those ulps.
"""

import contextlib
import json
import os

os.environ["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"  # before torch is imported

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from fixtures import FIXTURES, be_quiet, generator, relative_rms, versions
from safetensors.torch import save_file

SHAPE = (2, 2, 2, 2)
SEED = 20
TRAJECTORY_STEPS = [1, 2, 4, 10, 20, 50]
SCHEDULE_STEPS = [3, 5, 7, 8, 14, 15, 16, 25, 28, 30, 61, 103]
MANY_STEPS = [200, 333, 999]
CLASSES = {cls.__name__: cls for cls in (DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler)}
TRAINED_BETAS = [float(beta) for beta in np.linspace(0.002, 0.3, 40) ** 1.2]


def dpm_cases():
    """Returns {name: config} for DPM-Solver."""
    latent = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    cosine = {"beta_schedule": "squaredcos_cap_v2"}
    cases = {
        "default": {},
        "order 1": {"solver_order": 1},
        "order 3": {"solver_order": 3},
        "order 3 heun": {"solver_order": 3, "solver_type": "heun"},
        "heun": {"solver_type": "heun"},
        "bh2 means midpoint": {"solver_type": "bh2"},
        "not lower at the end": {"lower_order_final": False},
        "not lower at the end, sigma_min": {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        "order 3 not lower at the end, sigma_min": {"solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"},
        "euler at the end, sigma_min": {"euler_at_final": True, "lower_order_final": False, "final_sigmas_type": "sigma_min"},
        "sigma_min": {"final_sigmas_type": "sigma_min"},
        "scaled linear": latent,
        "scaled linear trailing": {**latent, "timestep_spacing": "trailing"},
        "scaled linear leading": {**latent, "timestep_spacing": "leading", "steps_offset": 1},
        "cosine clipped": {**cosine, "lambda_min_clipped": -5.1},
        "cosine karras": {**cosine, "use_karras_sigmas": True},
        "karras": {**latent, "use_karras_sigmas": True},
        "karras sigma_min": {**latent, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
        "karras with limits": {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 20.0},
        "exponential": {**latent, "use_exponential_sigmas": True},
        "cosine exponential": {**cosine, "use_exponential_sigmas": True},
        "lu": {**latent, "use_lu_lambdas": True},
        "cosine lu": {**cosine, "use_lu_lambdas": True, "solver_order": 3},
        "flow": {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0},
        "flow order 3": {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_order": 3},
        "flow epsilon": {"use_flow_sigmas": True, "flow_shift": 2.0},
        "flow v": {"use_flow_sigmas": True, "flow_shift": 2.0, "prediction_type": "v_prediction"},
        "v prediction": {**latent, "prediction_type": "v_prediction"},
        "v prediction zero snr": {**latent, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        "sample prediction": {"prediction_type": "sample"},
        "trained betas": {"trained_betas": TRAINED_BETAS, "num_train_timesteps": len(TRAINED_BETAS)},
        "500 timesteps": {"num_train_timesteps": 500},
        "thresholding": {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        "thresholding far": {"thresholding": True, "sample_max_value": 100.0, "dynamic_thresholding_ratio": 0.72},
        "sde": {"algorithm_type": "sde-dpmsolver++"},
        "sde heun": {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun", "euler_at_final": True},
        "sde order 3": {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "use_karras_sigmas": True},
    }
    for algorithm in ("dpmsolver", "sde-dpmsolver"):
        old = {"algorithm_type": algorithm, "final_sigmas_type": "sigma_min"}
        cases[f"{algorithm}"] = old
        cases[f"{algorithm} heun"] = {**old, "solver_type": "heun", "lower_order_final": False}
        cases[f"{algorithm} order 1 sample"] = {**old, "solver_order": 1, "prediction_type": "sample"}
        cases[f"{algorithm} v"] = {**old, "prediction_type": "v_prediction"}
        cases[f"{algorithm} thresholding"] = {**old, "thresholding": True, "sample_max_value": 2.0}
    cases["dpmsolver order 3"] = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3}
    return cases


def ddim_cases():
    """Returns {name: config} for DDIM."""
    latent = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False, "steps_offset": 1}
    return {
        "default": {},
        "latent": {**latent, "set_alpha_to_one": False},
        "linspace": {**latent, "timestep_spacing": "linspace"},
        "trailing v zero snr": {**latent, "timestep_spacing": "trailing", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        "sample prediction": {**latent, "prediction_type": "sample"},
        "thresholding": {"thresholding": True, "sample_max_value": 1.7, "dynamic_thresholding_ratio": 0.8},
        "clip range": {"clip_sample_range": 2.5},
    }


def euler_cases():
    """Returns {name: config} for Euler."""
    latent = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    cosine = {"beta_schedule": "squaredcos_cap_v2"}
    return {
        "default": {},
        "latent leading": {**latent, "timestep_spacing": "leading", "steps_offset": 1},
        "trailing": {**latent, "timestep_spacing": "trailing"},
        "karras": {**latent, "use_karras_sigmas": True},
        "karras with limits": {**latent, "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 80.0},
        "cosine exponential": {**cosine, "use_exponential_sigmas": True},
        "log linear": {**latent, "interpolation_type": "log_linear"},
        "v prediction": {**latent, "prediction_type": "v_prediction"},
        "continuous v": {**latent, "prediction_type": "v_prediction", "timestep_type": "continuous", "use_karras_sigmas": True},
        "zero snr": {**latent, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        "sample prediction": {"prediction_type": "sample", "final_sigmas_type": "sigma_min"},
    }


def flow_cases():
    """Returns {name: config} for flow matching."""
    return {
        "default": {},
        "shift 3": {"shift": 3.0},
        "shift 1.73": {"shift": 1.73, "num_train_timesteps": 500},
        "dynamic": {"use_dynamic_shifting": True, "shift": 3.0},
        "dynamic linear": {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        "terminal": {"shift": 2.0, "shift_terminal": 0.1},
        "dynamic terminal": {"use_dynamic_shifting": True, "shift_terminal": 0.02},
        "karras": {"shift": 3.0, "use_karras_sigmas": True},
        "exponential": {"shift": 3.0, "use_exponential_sigmas": True},
        "exponential with limits": {"use_exponential_sigmas": True, "sigma_min": 0.01, "sigma_max": 0.9},
        "inverted": {"shift": 1.5, "invert_sigmas": True},
        "stochastic": {"shift": 3.0, "stochastic_sampling": True},
    }


def request_of(name, cls, config):
    """Returns the request's options as halftone names them."""
    if config.get("use_dynamic_shifting"):
        return {"mu": 0.83}
    if cls is DDIMScheduler and name.endswith("eta"):
        return {"eta": 0.7}
    return {}


def all_cases():
    """Returns [(name, class, config, request, own sigmas?)]."""
    cases = []
    for cls, configs in ((DPMSolverMultistepScheduler, dpm_cases()), (DDIMScheduler, ddim_cases()), (EulerDiscreteScheduler, euler_cases()), (FlowMatchEulerDiscreteScheduler, flow_cases())):
        cases += [(f"{cls.__name__} {name}", cls, config, request_of(name, cls, config), False) for name, config in configs.items()]
    for name in ("latent", "default", "sample prediction"):
        cases.append((f"DDIMScheduler {name}, eta", DDIMScheduler, ddim_cases()[name], {"eta": 0.7}, False))
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    cases.append(("DPMSolverMultistepScheduler flow with mu", DPMSolverMultistepScheduler, flow, {"mu": 0.83}, False))
    for name in ("shift 3", "dynamic", "dynamic linear", "dynamic terminal", "karras"):
        config = flow_cases()[name]
        cases.append((f"FlowMatchEulerDiscreteScheduler {name}, own sigmas", FlowMatchEulerDiscreteScheduler, config, request_of(name, None, config), True))
    return cases


def planned(cls, config, request, own, steps):
    """Makes a scheduler and sets its timesteps."""
    scheduler = cls.from_config(dict(config))
    options = {"mu": request["mu"]} if "mu" in request else {}
    if own:
        options["sigmas"] = np.linspace(1.0, 1 / steps, steps).tolist()
    scheduler.set_timesteps(steps, **options)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return scheduler


def step_options(cls, request, noise, seed):
    """Returns what the class's step wants for fresh noise."""
    if cls is DPMSolverMultistepScheduler:
        return {"variance_noise": noise}
    if cls is DDIMScheduler:
        return {"eta": request.get("eta", 0.0), **({"variance_noise": noise} if "eta" in request else {})}
    return {"generator": generator(seed)}


@contextlib.contextmanager
def correct_rounding():
    """Makes torch.log and torch.exp round correctly for as long as it lasts."""
    kept = torch.log, torch.exp
    torch.log = lambda tensor: tensor.double().log().float()
    torch.exp = lambda tensor: tensor.double().exp().float()
    try:
        yield
    finally:
        torch.log, torch.exp = kept


def main():
    """Runs all cases and writes them."""
    be_quiet()
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    probe = torch.rand(100_000, generator=generator(SEED))
    if (probe.sqrt().numpy() != np.sqrt(probe.numpy())).any():
        raise RuntimeError("torch's square roots are not correctly rounded here: MKL did not take its AVX2 code")
    folder = FIXTURES / "schedulers"
    folder.mkdir(parents=True, exist_ok=True)
    draw = generator(SEED)
    rows = max(TRAJECTORY_STEPS)
    waves = torch.randn((3, rows, *SHAPE), generator=draw)
    angle = 0.15 * torch.arange(rows).reshape(-1, *[1] * len(SHAPE))
    outputs = waves[0, :1] * angle.cos() + waves[1, :1] * angle.sin() + 0.1 * waves[2]
    first = torch.randn(SHAPE, generator=draw)
    noise = torch.stack([torch.randn(SHAPE, generator=generator(1000 + i)) for i in range(rows)])
    stored = {"outputs": outputs, "first": first, "noise": noise}
    described = []
    for name, cls, config, request, own in all_cases():
        most = config.get("num_train_timesteps", 1000)
        entry = {"name": name, "class": cls.__name__, "config": config, "request": request, "ownSigmas": own, "trajectories": [], "logRounding": [], "schedules": []}
        for steps in TRAJECTORY_STEPS + SCHEDULE_STEPS + (MANY_STEPS if name.endswith("default") or "karras" in name else []):
            if steps > most:
                continue
            scheduler = planned(cls, config, request, own, steps)
            if not torch.isfinite(scheduler.timesteps.float()).all():
                entry.setdefault("notFinite", []).append(steps)
                continue
            entry["trajectories" if steps in TRAJECTORY_STEPS else "schedules"].append(steps)
            stored[f"{name}/{steps}/timesteps"] = scheduler.timesteps.double().float()
            if hasattr(scheduler, "sigmas"):
                stored[f"{name}/{steps}/sigmas"] = scheduler.sigmas
            if steps not in TRAJECTORY_STEPS:
                continue
            initial = float(getattr(scheduler, "init_noise_sigma", 1.0))
            stored[f"{name}/{steps}/init"] = torch.tensor([initial], dtype=torch.float32)
            twin = planned(cls, config, request, own, steps)
            sample = first * initial
            samples, scaled, rounding = [sample], [], 0.0
            for i, timestep in enumerate(scheduler.timesteps):
                if hasattr(scheduler, "scale_model_input"):
                    scaled.append(scheduler.scale_model_input(sample, timestep))
                    twin.scale_model_input(sample, timestep)
                with correct_rounding():
                    exact = twin.step(outputs[i], timestep, sample, return_dict=False, **step_options(cls, request, noise[i], 1000 + i))[0]
                sample = scheduler.step(outputs[i], timestep, sample, return_dict=False, **step_options(cls, request, noise[i], 1000 + i))[0]
                rounding = max(rounding, relative_rms(exact, sample))
                samples.append(sample)
            entry["logRounding"].append(float(f"{rounding:.2g}"))
            stored[f"{name}/{steps}/samples"] = torch.stack(samples)
            if cls is EulerDiscreteScheduler:
                stored[f"{name}/{steps}/scaled"] = torch.stack(scaled)
            if not torch.isfinite(samples[-1]).all():
                raise ValueError(f"{name}: {steps} steps end in numbers that are not finite")
        described.append(entry)
    save_file({key: value.contiguous() for key, value in stored.items()}, folder / "schedulers.safetensors")
    about = {"script": "reference/schedulers.py", "seed": SEED, "versions": versions(), "shape": list(SHAPE)}
    lines = ",\n".join("    " + json.dumps(case) for case in described)
    head = json.dumps(about, indent=2)[:-2]
    (folder / "schedulers.json").write_text(f'{head},\n  "cases": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
