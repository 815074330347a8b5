"""What elastic deformation brings: a U-Net on ISBI 2012 with it and without, of as many epochs, three seeds each.

    python examples/isbi/elastic.py isbi/ runs/elastic

All else is `unet.toml`, with 300 epochs. A run directory that is finished is not run again.
"""

import argparse
import statistics
import tomllib
from pathlib import Path

import saccade

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=300)
    asked = parser.parse_args()
    recipe = tomllib.loads(Path(__file__).with_name("unet.toml").read_text())
    recipe["epochs"] = asked.epochs
    plain = {key: value for key, value in recipe["augmentation"].items() if not key.startswith("elastic")}
    bent = {"elastic": 0.02, "elastic_smoothness": 0.3}
    errors: dict[str, list[float]] = {"without": [], "with": []}
    for seed in SEEDS:
        for name, augmentation in (("without", plain), ("with", plain | bent)):
            folder = asked.out / f"{name}-{seed}"
            if not (folder / "report.html").exists():
                options = recipe | {"augmentation": augmentation, "seed": seed}
                saccade.fit(asked.data, model="unet", out=folder, adapt="scratch", quiet=True, **options)
            errors[name].append(saccade.evaluate(folder, asked.data).result["pixel_error"])
            print(f"{name}, seed {seed}: {errors[name][-1]:.2f} %", flush=True)
    for name, values in errors.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"{name}: {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} % ({each})")


if __name__ == "__main__":
    main()
