"""Training on the CPU with glibc's defaults against ``keep_freed_memory``, in turns.

python benchmarks/allocator.py [--backbone tf_efficientnet_lite0] [--rounds 3]
"""

import argparse
import json
import resource
import subprocess
import sys
import time

STEPS, WARM_UP = 5, 2


def measure(backbone: str, keep: bool) -> dict:
    import timm
    import torch

    from fastleuk.memory import keep_freed_memory

    if keep and not keep_freed_memory():
        raise SystemExit("This C library does not take the setting: nothing to compare.")
    torch.manual_seed(0)
    model = timm.create_model(backbone, num_classes=2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    images = torch.randn(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (32,))
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            started = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_s": STEPS * 32 / (time.perf_counter() - started),
        "peak_mb": used.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=["keep", "default"])
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.backbone, options.child == "keep")))
        return
    found: dict[str, list[dict]] = {"default": [], "keep": []}
    for _ in range(options.rounds):
        for name in found:
            command = [sys.executable, __file__, "--child", name, "--backbone", options.backbone]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[name].append(json.loads(output))
    for name, rows in found.items():
        middle = {key: sorted(row[key] for row in rows)[len(rows) // 2] for key in rows[0]}
        print(f"{name:<8} {middle['images_per_s']:6.1f} images/s  peak {middle['peak_mb']:6.0f} MB")


if __name__ == "__main__":
    main()
