#!/bin/sh
# Retrain the released models from scratch: fetch, render, degrade, train, measure. Hours of CPU; see docs/experiments.md.
#   MUSIC=FOLDER  lossless FLAC to train on beside what is rendered here (optional)
#   VAL=FOLDER    held-out lossless FLAC, measured for the card
# Debian or Ubuntu with: fluidsynth openmpt123 lame ffmpeg. Writes data/released/ and upscale/released/.
set -eu
: "${VAL:?name a folder of held-out FLAC files: make reproduce-model VAL=... [MUSIC=...]}"
PYTHON=${PYTHON:-.venv/bin/python}
WORK=data/released
mkdir -p "$WORK/packages" "$WORK/unpacked"

for program in fluidsynth openmpt123 lame ffmpeg apt-get dpkg; do
    command -v "$program" >/dev/null || { echo "error: $program is missing; apt-get install $program" >&2; exit 1; }
done
for package in openttd-openmsx freedoom fluid-soundfont-gm musescore-general-soundfont-lossless \
    pekka-kana-2-data rafkill-data biniax2-data heroes-sound-tracks ceferino-data; do
    ls "$WORK/packages/${package}"_*.deb >/dev/null 2>&1 || (cd "$WORK/packages" && apt-get download "$package")
    dpkg -x "$WORK/packages/${package}"_*.deb "$WORK/unpacked"
done

"$PYTHON" scripts/render_music.py --unpacked "$WORK/unpacked" ${MUSIC:+--music "$MUSIC"} --out "$WORK/music"
"$PYTHON" scripts/degrade_music.py --music "$WORK/music" --out "$WORK/cache/rendered"
CACHE="$WORK/cache/rendered"
if [ -n "${MUSIC:-}" ]; then
    "$PYTHON" scripts/degrade_music.py --music "$MUSIC" --out "$WORK/cache/music" --all
    CACHE="$CACHE $WORK/cache/music"
fi

MACHINE=$(grep -m1 "model name" /proc/cpuinfo | cut -d: -f2- | sed 's/^ *//')
for NAME in fidelity perceptual; do
    [ "$NAME" = fidelity ] && MINUTES=62 || MINUTES=25
    set -- scripts/train_released.py "$NAME" --cache $CACHE --out "$WORK/$NAME.pt" --minutes "$MINUTES"
    [ "$NAME" = fidelity ] || set -- "$@" --filter "$WORK/fidelity.pt"
    OMP_NUM_THREADS=1 "$PYTHON" "$@"
    "$PYTHON" scripts/release.py "$NAME" --checkpoint "$WORK/$NAME.pt" --music "$VAL" --visqol \
        --hours "$(echo "scale=2; $MINUTES / 60" | bc)" --machine "one thread of $MACHINE" \
        --songs "$(ls $(for folder in $CACHE; do echo "$folder"/*@clean.npy; done) | wc -l)" --command "python $*"
done
