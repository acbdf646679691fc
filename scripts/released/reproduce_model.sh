#!/bin/sh
# Retrain the released models from scratch: fetch, render, degrade, train, measure. Hours of CPU; see docs/experiments.md.
#   VAL=FOLDER    held-out lossless FLAC, measured for the card
#   MUSIC=FOLDER  lossless FLAC to train on beside what is rendered here (optional)
#   QUICK=1       a minute of training a stage, on MUSIC alone, bundles in data/released/quick: does it all still run?
# Debian or Ubuntu with: fluidsynth openmpt123 lmms zynaddsubfx-data mma ffmpeg. Writes data/released/ and upscale/released/.
set -eu
: "${VAL:?name a folder of held-out FLAC files: make reproduce-model VAL=... [MUSIC=...]}"
PYTHON=${PYTHON:-.venv/bin/python}
WORK=data/released${QUICK:+/quick}
MIDI="openttd-openmsx freedoom freedink-data planetblupi-music-midi songwrite pinball-table-hurd-data kobodeluxe-data
    liquidwar-data crimson pangzero"
SOUNDFONTS="fluid-soundfont-gm musescore-general-soundfont-lossless minuet-data denemo-data timgm6mb-soundfont
    opl3-soundfont"
MODULES="pekka-kana-2-data rafkill-data biniax2-data heroes-sound-tracks ceferino-data tecnoballz-data pingus-data
    freedroid-data flobopuyo pachi-data madbomber-data rockdodger open-invaders-data gemdropx vodovod penguin-command
    njam-data bb tuxtype-data tuxmath-data solarwolf dodgindiamond2 bugsquish vor vectoroids tomatoes-data pathogen
    monsterz-data gweled gltron fb-music-high cuyo-data criticalmass-data black-box ballz-data sdlbasic"
VORBIS="adonthell-data amoebax-data ardentryst berusky2-data bumprace-data caveexpress-data cavepacker-data
    colobot-common-sounds cube2-data davegnukem-data drascula-music enigma-data extremetuxracer-data flare-game freecol
    freedroidrpg-data freeorion-data fretsonfire-songs-muldjord fretsonfire-songs-sectoid frozen-bubble-data
    gigalomania-data glob2-data gunroar-data hedgewars-data hex-a-hop-data hyperrogue-music krank lincity-ng-data
    lordsawar-data marsshooter-data mazeofgalious-data megaglest-data mu-cade-data naev-data neverball-common
    noiz2sa-data openclonk-data parsec47-data pathological performous plee-the-bear-data pushover-data redeclipse-data
    rrootage-data scorched3d-data singularity-music starfighter-data supertux-data supertuxkart-data titanion-data
    torcs-data torus-trooper-data trackballs-data tumiki-fighters-data unknown-horizons warmux-data wesnoth-1.16-music
    widelands-data wordwarvi-sound xmoto-data"
mkdir -p "$WORK"
CACHE="" ALL_MUSIC="" COUNT=11000 SONGS_REPEATED=560
[ -z "${QUICK:-}" ] || COUNT=50 SONGS_REPEATED=10

if [ -z "${QUICK:-}" ]; then
    for program in fluidsynth openmpt123 lmms mma ffmpeg apt-get dpkg; do
        command -v "$program" >/dev/null || { echo "error: $program is missing; apt-get install $program" >&2; exit 1; }
    done
    [ -d /usr/share/zynaddsubfx/banks ] ||
        { echo "error: the instruments of ZynAddSubFX are missing; apt-get install zynaddsubfx-data" >&2; exit 1; }
    mkdir -p "$WORK/packages" "$WORK/unpacked"
    for package in $MIDI $SOUNDFONTS $MODULES; do
        ls "$WORK/packages/${package}"_*.deb >/dev/null 2>&1 || (cd "$WORK/packages" && apt-get download "$package")
        dpkg -x "$WORK/packages/${package}"_*.deb "$WORK/unpacked"
    done
    for package in $VORBIS; do
        [ ! -d "$WORK/unpacked_vorbis/$package" ] || continue
        (cd "$WORK" && rm -rf unpacked_vorbis/part && mkdir -p unpacked_vorbis/part && apt-get download "$package" &&
            dpkg --fsys-tarfile "${package}"_*.deb | tar -x -C unpacked_vorbis/part --wildcards "*.ogg" &&
            mv unpacked_vorbis/part "unpacked_vorbis/$package" && rm "${package}"_*.deb)
    done
    "$PYTHON" -m scripts.released.music.decode_vorbis --unpacked "$WORK/unpacked_vorbis" --out "$WORK/vorbis" --workers 2
    "$PYTHON" -m scripts.released.music.synthesise --out "$WORK/synthesised" --count 4000 --workers 2
    "$PYTHON" -m scripts.released.music.accompany --out "$WORK/unpacked/accompaniments"
    SF2="$WORK/unpacked/usr/share/sounds/sf2" GENERAL_USER="$WORK/unpacked/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2"
    "$PYTHON" -m scripts.released.music.vary_soundfont "$SF2/FluidR3_GM.sf2" "$SF2/A320U.sf2" "$SF2/TimGM6mb.sf2" "$GENERAL_USER" \
        --out "$WORK/unpacked/varied"
    set -- --fonts "$SF2/FluidR3_GM.sf2" "$SF2/MuseScore_General_Full.sf2" "$GENERAL_USER" "$SF2/A320U.sf2"
    VARY="-m scripts.released.music.vary_module --unpacked $WORK/unpacked --out $WORK/varied_modules"
    "$PYTHON" $VARY
    "$PYTHON" $VARY --first 3 --count 8 "$@"
    "$PYTHON" $VARY --first 11 --count 5 --silent 0.4 "$@"
    "$PYTHON" -m scripts.released.music.render_music --unpacked "$WORK/unpacked" --out "$WORK/music" --workers 2
    "$PYTHON" -m scripts.released.music.render_music --unpacked "$WORK/varied_modules" --out "$WORK/varied" --workers 2
    "$PYTHON" -m scripts.released.music.render_lmms --out "$WORK/music"
    "$PYTHON" -m scripts.released.music.sequence_lmms --unpacked "$WORK/unpacked" --out "$WORK/varied" --count 2 --workers 2
    "$PYTHON" -m scripts.released.music.sequence_lmms --unpacked "$WORK/unpacked" --out "$WORK/varied" --first 2 --zyn 0.75 --workers 2
    "$PYTHON" -m scripts.released.music.degrade_music --music "$WORK/music" --out "$WORK/cache/rendered"
    ALL_MUSIC="$WORK/music $WORK/varied"
    CACHE="$WORK/cache/rendered"
fi
if [ -n "${MUSIC:-}" ]; then
    "$PYTHON" -m scripts.released.music.degrade_music --music "$MUSIC" --out "$WORK/cache/music" --all
    CACHE="$CACHE $WORK/cache/music"
    ALL_MUSIC="$ALL_MUSIC $MUSIC"
fi
"$PYTHON" -m scripts.released.music.augment_music --music $ALL_MUSIC --out "$WORK/cache/pool" --workers 2 --count $COUNT
"$PYTHON" -m scripts.released.music.augment_music --music $ALL_MUSIC --out "$WORK/cache/pool" --workers 2 --first 40000 \
    --count $((COUNT / 2)) --as-it-is 1
if [ -z "${QUICK:-}" ]; then
    "$PYTHON" -m scripts.released.music.augment_music --music "$WORK/varied" --out "$WORK/cache/pool" --workers 2 --first 60000 \
        --count 8000 --as-it-is 0.8
    # For the stages of frames alone: Vorbis is known in part, which no other allows for.
    "$PYTHON" -m scripts.released.music.augment_music --music "$WORK/vorbis" --out "$WORK/cache/frame_pool" --workers 2 \
        --first 80000 --count 8000 --as-it-is 0.45
    "$PYTHON" -m scripts.released.music.augment_music --music "$WORK/synthesised" --out "$WORK/cache/frame_pool" --workers 2 \
        --first 90000 --count 8000 --as-it-is 1
    # With so much else, music of synthesisers would be a tenth of all; as it is a quarter, it is not forgotten.
    mkdir -p "$WORK/lmms"
    ln -sf "$PWD/$WORK"/music/lmms*.flac "$PWD/$WORK"/varied/lmms*.flac "$WORK/lmms/"
    "$PYTHON" -m scripts.released.music.augment_music --music "$WORK/lmms" --out "$WORK/cache/frame_pool" --workers 2 \
        --first 100000 --count 4000 --as-it-is 0.6
fi
"$PYTHON" -m scripts.released.cache_frames --pool "$WORK/cache/pool" "$WORK/cache/frame_pool" --out "$WORK/cache/frames" --workers 2
SONGS=$(ls $(for folder in $CACHE; do echo "$folder"/*@clean.npy; done) | sed "s/__[0-9]*@clean.npy//" | sort -u | wc -l)
MACHINE=$(grep -m1 "model name" /proc/cpuinfo | cut -d: -f2- | sed 's/^ *//')

BEFORE="" LEVELS=""
for STAGE in coarse:45:2e-3 fine:25:2e-3 fidelity:80:1e-3 repeat:62:2e-3 bands:150:1e-3 correlation:8:2e-3 levels:200:1e-3 \
    repeat-levels:20:2e-3; do
    NAME=${STAGE%%:*} RATE=${STAGE##*:}
    MINUTES=${STAGE#*:} MINUTES=${MINUTES%:*}
    [ -z "${QUICK:-}" ] || MINUTES=1
    SOURCE="$WORK/cache/pool"
    case "$NAME" in
        coarse | fine | fidelity) SOURCE=$CACHE ;;
        repeat-levels)
            SOURCE="$WORK/cache/bins"
            "$PYTHON" -m scripts.released.cache_bins --repeats "$WORK/cache/repeats" --model "$BEFORE" --out "$SOURCE" --workers 2
            ;;
        repeat)
            SOURCE="$WORK/cache/repeats"
            "$PYTHON" -m scripts.released.cache_repeats --music $ALL_MUSIC --filter "$BEFORE" --out "$SOURCE" --count $SONGS_REPEATED
            ;;
        bands | correlation) SOURCE="$WORK/cache/frames" ;;
    esac
    set -- -m scripts.released.train_released "$NAME" --cache $SOURCE --out "$WORK/$NAME.pt" --minutes "$MINUTES" --rate "$RATE"
    case "$NAME" in
        coarse | bands) ;;
        correlation) set -- "$@" --levels "$LEVELS" ;;
        repeat-levels) set -- "$@" --filter "$BEFORE" ;;
        *) set -- "$@" --filter "$BEFORE" ${LEVELS:+--levels "$LEVELS"} ;;
    esac
    OMP_NUM_THREADS=1 "$PYTHON" "$@"
    case "$NAME" in
        bands | correlation) LEVELS="$WORK/$NAME.pt"; continue ;;
        *) BEFORE="$WORK/$NAME.pt" ;;
    esac
    case "$NAME" in
        repeat) RELEASED=fidelity ;;
        repeat-levels) RELEASED=perceptual ;;
        *) continue ;;
    esac
    "$PYTHON" -m scripts.released.release "$RELEASED" --checkpoint "$WORK/$NAME.pt" --music "$VAL" --visqol \
        --minutes "$MINUTES" --machine "one thread of $MACHINE" --songs "$SONGS" --command "python $*" \
        ${QUICK:+--seconds 6 --out "$WORK/$RELEASED"}
done
