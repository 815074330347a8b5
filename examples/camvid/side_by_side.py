"""Seven networks of segmentation side by side: one small backbone, one recipe, equal time, one scorer.

    python examples/camvid/side_by_side.py camvid.yaml runs/side-by-side

All start from nothing on VGG-11 with batch norm, a quarter as wide. How many epochs make 20 minutes was measured on two
cores before (`EPOCHS`); `--epochs 3` tries all seven quickly, and a run directory that is finished is not run again.
"""

import argparse
import time
from pathlib import Path

import saccade

NETWORKS = {
    "fcn32s": {"hidden": 256},
    "fcn16s": {"hidden": 256},
    "fcn8s": {"hidden": 256},
    "deconvnet": {"hidden": 256},
    "segnet": {},
    "unet": {},
    "pspnet": {"width": 128},
}
EPOCHS = {"fcn32s": 61, "fcn16s": 58, "fcn8s": 55, "deconvnet": 61, "segnet": 81, "unet": 17, "pspnet": 66}
BACKBONE = {"backbone": "vgg11_bn", "encoder_options": {"width": 16}}
RECIPE = {
    "batch_size": 8,
    "learning_rate": 2e-3,
    "window": 352,
    "validate_every": 1000,  # at the end
    "augmentation": {"flip": 0.5, "zoom": (0.7, 1.6), "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=NETWORKS, nargs="*", default=tuple(NETWORKS))
    parser.add_argument("--epochs", type=int, help="the same for all, in place of 20 minutes")
    asked = parser.parse_args()
    print("| network | weights, millions | epochs | minutes | mean IoU | pixel accuracy |\n|---|---|---|---|---|---|")
    for name in asked.only:
        epochs, folder, begun = asked.epochs or EPOCHS[name], asked.out / name, time.perf_counter()
        if not (folder / "report.html").exists():
            options = {**RECIPE, "network": BACKBONE | NETWORKS[name]}
            saccade.fit(asked.data, model=name, out=folder, adapt="scratch", epochs=epochs, quiet=True, **options)
        minutes = (time.perf_counter() - begun) / 60
        predictor = saccade.load(folder)
        result = saccade.evaluate(predictor, asked.data).result
        weights = sum(weight.numel() for weight in predictor.model.parameters()) / 1e6
        numbers = f"{epochs} | {minutes:.1f} | {result['mean_iou']:.1f} | {100 - result['pixel_error']:.1f}"
        print(f"| `{name}` | {weights:.2f} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
