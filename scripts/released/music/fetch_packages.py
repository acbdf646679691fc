"""Download the Debian packages whose MIDI files, soundfonts, tracker modules and Vorbis songs are trained on.

    python -m scripts.released.music.fetch_packages --unpacked FOLDER --vorbis FOLDER

`--unpacked` gets everything for `render_music` in one tree; `--vorbis` gets the .ogg files, a folder for each package,
for `decode_vorbis`. Needs `apt-get` and `dpkg-deb`. A package that was unpacked is not fetched again.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from upscale.entrypoint import run
from upscale.errors import UserError

MIDI = """
    openttd-openmsx freedoom freedink-data planetblupi-music-midi songwrite pinball-table-hurd-data kobodeluxe-data
    liquidwar-data crimson pangzero"""
# The plain musescore package holds Ogg samples: the lossless one does not.
SOUNDFONTS = """
    fluid-soundfont-gm musescore-general-soundfont-lossless minuet-data denemo-data timgm6mb-soundfont
    opl3-soundfont"""
MODULES = """
    pekka-kana-2-data rafkill-data biniax2-data heroes-sound-tracks ceferino-data tecnoballz-data pingus-data
    freedroid-data flobopuyo pachi-data madbomber-data rockdodger open-invaders-data gemdropx vodovod penguin-command
    njam-data bb tuxtype-data tuxmath-data solarwolf dodgindiamond2 bugsquish vor vectoroids tomatoes-data pathogen
    monsterz-data gweled gltron fb-music-high cuyo-data criticalmass-data black-box ballz-data sdlbasic"""
VORBIS = """
    adonthell-data amoebax-data ardentryst berusky2-data bumprace-data caveexpress-data cavepacker-data
    colobot-common-sounds cube2-data davegnukem-data drascula-music enigma-data extremetuxracer-data flare-game freecol
    freedroidrpg-data freeorion-data fretsonfire-songs-muldjord fretsonfire-songs-sectoid frozen-bubble-data
    gigalomania-data glob2-data gunroar-data hedgewars-data hex-a-hop-data hyperrogue-music krank lincity-ng-data
    lordsawar-data marsshooter-data mazeofgalious-data megaglest-data mu-cade-data naev-data neverball-common
    noiz2sa-data openclonk-data parsec47-data pathological performous plee-the-bear-data pushover-data redeclipse-data
    rrootage-data scorched3d-data singularity-music starfighter-data supertux-data supertuxkart-data titanion-data
    torcs-data torus-trooper-data trackballs-data tumiki-fighters-data unknown-horizons warmux-data wesnoth-1.16-music
    widelands-data wordwarvi-sound xmoto-data"""


def fetch(packages: Iterable[str], out: Path, keep: str = "*") -> None:
    """OUT/PACKAGE for each: what `dpkg-deb` unpacks, of it the files whose names match `keep`."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise UserError(
                f"{program} is missing: the music is fetched on Debian or Ubuntu; or give your own, MUSIC=DIR"
            )
    out.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if (out / package).exists():
            continue
        with tempfile.TemporaryDirectory(dir=out, prefix=".part") as scratch:
            unpacked = Path(scratch) / "unpacked"
            done = subprocess.run(["apt-get", "download", package], cwd=scratch, capture_output=True, text=True)
            archives = list(Path(scratch).glob("*.deb"))
            if done.returncode or not archives:
                raise UserError(f"apt-get cannot download {package}: {done.stderr.strip()[-200:]}")
            subprocess.run(["dpkg-deb", "-x", archives[0], unpacked], check=True)
            remove_others(unpacked, keep)
            unpacked.rename(out / package)
        print(package, flush=True)


def remove_others(folder: Path, keep: str) -> None:
    for path in folder.rglob("*"):
        if not path.is_dir() and not path.match(keep):
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--vorbis", type=Path, required=True)
    arguments = parser.parse_args()
    fetch(f"{MIDI} {SOUNDFONTS} {MODULES}".split(), arguments.unpacked)
    fetch(VORBIS.split(), arguments.vorbis, keep="*.ogg")


if __name__ == "__main__":
    run(main)
