"""Kill part sets at random, many times: ``python tests/scale/kill_harness.py ENGINE KILLS [SEED]``.

A command makes the parts of small shards; it, one of its ranks or one of Ray's actors is killed at
a random moment, again and again, until it ends by itself; then it begins anew in another folder.
After each kill every part that is there must be, to the byte, what an undisturbed run makes; at the
end of each job no row is lost, doubled or different. The machine's own Python packages and a free
core are all that it takes.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "support")]

import psutil  # noqa: E402

import decaf  # noqa: E402
import forked  # noqa: E402
import made_shards  # noqa: E402
import two_processes  # noqa: E402
from decaf.scale import extract_shards  # noqa: E402

SHARDS = 8


def main(engine: str, kills: int, seed: int) -> None:
    generator = random.Random(seed)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path[:2])}
    env |= {"RAY_worker_niceness": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    with tempfile.TemporaryDirectory(prefix="decaf-kills-") as scratch:
        root = Path(scratch)
        network = made_shards.write_network(root / "tiny.safetensors")
        folder = made_shards.write_shards(root / "in", SHARDS)
        pattern = f"{folder}/{{000..{SHARDS - 1:03d}}}.tar"
        extract_shards(
            pattern, root / "expected", "fc7", weights=network, workers=0, progress=False
        )
        expected = made_shards.part_bytes(root / "expected")
        if engine == "ray":
            env |= begin_cluster()
        done = jobs = ended = 0
        began = time.monotonic()
        while done < kills:
            jobs += 1
            out = root / f"job-{jobs}"
            out.mkdir()
            shutil.copy(root / "expected/run.json", out)
            arguments = ["-m", "decaf", "extract", pattern, "-o", f"{out}/", "-w", str(network)]
            arguments += ["-l", "fc7", "-j", "0", "-q", "--engine", engine]
            if engine == "ray":
                arguments += ["--actors", "1", "--actor-cores", "1"]
            while True:
                processes = begin(engine, env, arguments)
                if done >= kills or not strike(generator, processes, engine, out):
                    for process in processes:
                        said = process.communicate()
                        assert process.returncode == 1, said
                    break
                done += 1
                check(made_shards.part_bytes(out), expected, whole=False)
                if engine == "ray":
                    ended += finished(processes)
                else:
                    for process in processes:
                        process.kill()
                        process.wait()
            check(made_shards.part_bytes(out), expected, whole=True)
            with decaf.open_features(out) as features:
                names = [f"{s:03d}/{n:04d}.jpg" for s in range(SHARDS) for n in range(5)]
                assert features.paths.tolist() == names
            shutil.rmtree(out)
            seconds = time.monotonic() - began
            print(f"{engine}: {done} kills in {jobs} jobs, {seconds:.0f} s", flush=True)
    print(f"{engine}: {done} kills in {jobs} jobs: every part as it would have been")


def begin_cluster() -> dict[str, str]:
    """Begin a cluster of two cores for all commands; return what they know it by."""
    # A token of this run's own, which the commands show too: nobody else may use the cluster.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= token
    os.environ |= {"RAY_worker_niceness": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    import ray  # which reads the environment now

    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path[:2])}}
    context = ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=128 << 20, runtime_env=paths
    )
    return {"RAY_ADDRESS": context.address_info["address"], **token}


def begin(engine: str, env: dict[str, str], arguments: list[str]) -> list[forked.Forked]:
    if engine == "torchrun":
        return two_processes.start(env, *arguments)
    return [forked.start(env, *arguments)]


def strike(
    generator: random.Random, processes: list[forked.Forked], engine: str, out: Path
) -> bool:
    """Kill something at a random moment; False where the command ended before."""
    # As it begins, or some parts later: so a job goes on between the kills.
    parts = len(made_shards.part_bytes(out)) + generator.choice((0, 1, 1, 2))
    while len(made_shards.part_bytes(out)) < parts:
        if all(process.poll() is not None for process in processes):
            return False
        time.sleep(0.002)
    time.sleep(generator.random() * generator.choice((0.01, 0.3)))
    victim = generator.choice(processes)
    if victim.poll() is not None:
        return False
    if engine == "ray" and generator.random() < 0.5:
        # Of the cluster, which this process has begun.
        children = psutil.Process().children(recursive=True)
        actors = [child for child in children if child.name().startswith("ray::_Actor")]
        if actors:
            actors[0].kill()
            return True
    victim.kill()
    return True


def finished(processes: list[forked.Forked]) -> int:
    """Wait for a command whose actor was killed, or that was killed itself."""
    for process in processes:
        process.wait()
    return sum(process.returncode == 1 for process in processes)


def check(there: object, expected: object, *, whole: bool) -> None:
    ours, theirs = dict(there), dict(expected)  # type: ignore[call-overload]
    assert ours.items() <= theirs.items(), "a part is not what it would have been"
    assert not whole or ours == theirs, "a part is missing"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
