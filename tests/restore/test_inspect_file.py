"""Whether a model should touch a file: by its codec, its bitrate, its cut-off, and signs of a re-encode."""

from mp3s import RATE, by_ffmpeg, music, save

from upscale import audio
from upscale.restore.inspect_file import inspect_file

WAV = music()
TRAINED = (64, 96, 128, 192)


def test_a_file_is_good_or_not_by_what_it_says_and_sounds_like(tmp_path):
    clean = tmp_path / "clean.flac"
    audio.write(clean, WAV, RATE, "PCM_16")
    assert "no trace of a codec" in inspect_file(clean).is_good(TRAINED)

    low = save(tmp_path / "low.mp3", by_ffmpeg(WAV, bitrate=128))
    assert inspect_file(low).is_good(TRAINED) is None and inspect_file(low).effective_bitrate == 128

    high = save(tmp_path / "high.mp3", by_ffmpeg(WAV, bitrate=320))
    assert "320 kbit/s" in inspect_file(high).is_good(TRAINED) and not inspect_file(high).looks_reencoded

    decoded = tmp_path / "decoded.wav"
    audio.write(decoded, audio.read(low)[0], RATE, "PCM_16")
    found = inspect_file(decoded)
    assert found.looks_reencoded and found.effective_bitrate == 128 and found.is_good(TRAINED) is None

    again = save(tmp_path / "again.mp3", by_ffmpeg(audio.read(low)[0], bitrate=320))
    found = inspect_file(again)
    assert found.looks_reencoded and (found.bitrate, found.effective_bitrate) == (320, 128)
    assert found.is_good(TRAINED) is None
