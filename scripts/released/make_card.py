"""Write `card.md` of a released bundle from what its `model.yaml` says: `python -m scripts.released.make_card FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import yaml

PURPOSE = {
    "fidelity": "Brings the waveform nearer to what it was before MP3. It removes coding noise, by itself and by what "
    "the same passage lost less of where the piece plays it again, and invents nothing: what the encoder's low-pass "
    "took away stays away.",
    "perceptual": "Brings the spectrum nearer to what it was before MP3: the filters of the `fidelity` model, then the "
    "predicted level for every bin of every frame, above the low-pass and in the holes below it too, by what the same "
    "passage kept where the piece plays it again. What it adds is plausible, not true.",
}
LIMITS = {
    "fidelity": "- Gains are small and real: half a decibel to two. It does not bring back treble.\n"
    "- A good part of them comes from repetitions within 12 s, to the sample: loops, samples and patterns have many, a "
    "band that plays freely has none.",
    "perceptual": "- What is added where nothing was decoded is noise that was made smooth; it has no pitch. Bright "
    "tonal sounds above the low-pass come back as hiss of the right loudness.\n"
    "- That noise repeats every 0.74 s before it is shaped by the music; a long quiet hiss might show it.\n"
    "- How alike left and right were up there is guessed too: right for most music, too alike where the treble is "
    "wider than what lies below it.\n"
    "- Use `fidelity` where the result is to be processed or compared further.",
}
ENCODED_BY = {
    "fidelity": "`scripts/released/music/degrade_music.py` and `scripts/released/cache_repeats.py` encode it",
    "perceptual": "`scripts/released/music/augment_music.py` and `scripts/released/cache_repeats.py` mix and encode it",
}
DATA = """| source | licence | what |
|---|---|---|
| LMMS demo projects, as they are and with other presets; drums of hydrogen-drumkits | Artistic-2.0, CC-BY-SA-4.0, \
BSD-2, GPL-2+ | projects, full mixes |
| Freedoom MIDI with FluidR3_GM and MuseScore_General_Full, as it is and with other instruments | BSD-3-Clause; \
soundfonts MIT | MIDI |
| OpenTTD openmsx MIDI with the same soundfonts | GPL-2; soundfonts MIT | MIDI |
| music21 corpus (Beethoven op. 18 no. 1, Mozart K. 155) | public-domain scores, BSD-3-Clause | MIDI |
| pekka-kana-2-data, rafkill-data, biniax2-data, heroes-sound-tracks, ceferino-data, tecnoballz-data | BSD-2, LGPL-2, \
Zlib, GPL-2+, GPL-3+ | tracker modules |
| hydrogen-data demo songs | GPL-2+ | acoustic drum kit |
| Sonic Pi loops | CC0-1.0 | loops |
| MMA accompaniments in every style of its library, on all soundfonts | GPL-2+ | MIDI |
| freedink-data, planetblupi-music-midi, songwrite, pinball-table-hurd-data, kobodeluxe-data, liquidwar-data, crimson, \
pangzero | Zlib, GPL-3+, GPL-2+, FAL | MIDI |
| GeneralUser (minuet-data), A320U (denemo-data), TimGM6mb, OPL-3_FM_128M | GPL-2 and later, CC-BY-SA-4.0 | \
soundfonts, beside the two above |
| FluidR3_GM, GeneralUser, A320U and TimGM6mb with other samples (`scripts/released/music/vary_soundfont.py`) | MIT, GPL-2 and later, \
CC-BY-SA-4.0 | soundfonts |
| pingus-data, freedroid-data, flobopuyo, pachi-data, madbomber-data, rockdodger, open-invaders-data, gemdropx, \
vodovod, penguin-command, njam-data, bb, tuxtype-data, tuxmath-data, solarwolf, dodgindiamond2, bugsquish, vor, \
vectoroids, tomatoes-data, pathogen, monsterz-data, gweled, gltron, fb-music-high, cuyo-data, criticalmass-data, \
black-box, ballz-data, sdlbasic | GPL-2+ and GPL-3+, LGPL-2.1, Zlib, BSD, CC0-1.0, public domain | tracker modules |
| the same modules with other samples (`scripts/released/music/vary_module.py`), some out of the soundfonts above | as above | \
tracker modules |
| the MIDI files above on the presets and synthesised drums of LMMS (`scripts/released/music/sequence_lmms.py`) | as above; GPL-2+ | \
synthesisers |"""
MORE_DATA = {
    "fidelity": "\n\nNone of it is a recording of a band or a voice.",
    "perceptual": """
| the MIDI files above on instruments of ZynAddSubFX, played by LMMS: `zynaddsubfx-data` | GPL-2+ | synthesisers |
| songs and sounds that `scripts/released/music/synthesise.py` draws: levels of bands alone | - | synthesisers |
| music of games that exists as Vorbis alone, the packages `VORBIS` of `scripts/released/reproduce_model.sh`: levels of bands \
alone, up to the encoder's low-pass | all in Debian main: CC-BY-SA, CC-BY, GPL-2+, GPL-3+, CC0-1.0 and others, by \
package | bands, orchestras, electronic music |

The filters before it never heard a recording of a band or a voice.""",
}


def write_card(folder: Path) -> None:
    """`FOLDER/card.md`, from `FOLDER/model.yaml`; the folder's name says which text goes with it."""
    description = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    name, metrics = folder.name, description["metrics"]
    training, songs = metrics["training"], sorted(metrics["si_sdr_improvement"])
    told = "told the bitrate" if metrics["told_the_bitrate"] else "not told the bitrate"
    measured = any("restored_visqol" in row for row in metrics["held_out"].values())
    visqol = " ViSQOL is that of the first 8 s." if measured else ""
    text = f"""# {name}

{PURPOSE[name]}

Class `{description["class"]}`, 44.1 kHz stereo (mono goes in on both channels), any MP3 bitrate, told or not.

## What it does, against doing nothing

Means over {len(songs)} held-out songs ({", ".join(songs)}), the middle {metrics["seconds_per_song"]:g} s of each,
encoded whole by LAME at a constant bitrate in joint stereo; the model was {told}.
"Level put right" is the MP3 times the one
factor that suits it best: LAME turns the level down, and undoing that is no restoration.{visqol}

{_table(metrics["held_out"])}

SI-SDR won per song, in dB:

{_songs(metrics["si_sdr_improvement"])}

## How it was trained

    {training["command"]}

{training["steps"]} steps in {training["minutes"]:g} minutes on {training["machine"]}; {training["songs"]} songs.
{training["note"]}

`scripts/released/music/render_music.py` renders the music, {ENCODED_BY[name]}, `scripts/released/train_released.py` trains,
`scripts/released/release.py` measures and wrote this card; `make reproduce-model` runs them all. The seed fixes the clips that
are drawn, not the result to the bit: training ends by the clock.

## Data

{DATA}{MORE_DATA[name]} No audio is part of this repository; the weights are under its licence.

## Limits

{LIMITS[name]}
- From 192 kbit/s on there is next to nothing to win, and the file is left alone: by the bitrate where it is told, else
  where treble between 17.85 and 18.5 kHz has survived. In music without any it cannot tell, and may lose.
- It looks {metrics["context_seconds"]:.1f} s ahead and back: not for live sound.
- Measured on rendered music, and trained on little else; MP3 by LAME. Recordings with singing gain less; files that
  other encoders made, or in AAC, Opus or Vorbis, were never shown to it.
- Four held-out songs are few. Measure on your own music: `python evaluate.py`.
"""
    (folder / "card.md").write_text(text, encoding="utf-8")


def _table(means: dict[int, dict[str, float]]) -> str:
    visqol = any("restored_visqol" in row for row in means.values())
    head = ["kbit/s", "SDR", "level put right", "restored", "SI-SDR", "restored", "won", "LSD", "restored"]
    lines = [head + (["ViSQOL", "restored"] if visqol else [])]
    lines.append(["---"] * len(lines[0]))
    for bitrate, row in means.items():
        won = row["restored_si_sdr"] - row["degraded_si_sdr"]
        cells = [f"{bitrate}", *(f"{row[f'{system}_sdr']:.2f}" for system in ("degraded", "levelled", "restored"))]
        cells += [f"{row['degraded_si_sdr']:.2f}", f"{row['restored_si_sdr']:.2f}", f"{won:+.2f}"]
        cells += [f"{row['degraded_lsd']:.3f}", f"{row['restored_lsd']:.3f}"]
        if visqol:
            cells += [f"{row[key]:.2f}" if key in row else "" for key in ("degraded_visqol", "restored_visqol")]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _songs(gains: dict[str, dict[int, Any]]) -> str:
    bitrates = list(next(iter(gains.values())))
    lines = [["song", *map(str, bitrates)], ["---"] * (1 + len(bitrates))]
    lines += [[song, *(f"{gains[song][bitrate]:+.2f}" for bitrate in bitrates)] for song in sorted(gains)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        write_card(Path(folder))
