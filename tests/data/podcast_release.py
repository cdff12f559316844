"""A small release of MSP-Podcast as files, in the csv form and in the older text form."""

from __future__ import annotations

CLIPS: dict[str, tuple[str, str, float, float, float]] = {}
"""Id → partition, speaker, arousal, valence, dominance."""
for _i, (_part, _speaker) in enumerate(
    [
        *[("Train", "12"), ("Train", "12"), ("Train", "Unknown"), ("Train", "7"), ("Train", "1013")],
        *[("Development", "30"), ("Development", "31"), ("Test1", "40"), ("Test1", "41"), ("Test1", "41")],
        *[("Test2", "Unknown"), ("Test2", "50"), ("Test3", "51")],
    ]
):
    _podcast = ("Train", "Development", "Test1", "Test2", "Test3").index(_part) * 3 + _i % 3
    CLIPS[f"MSP-PODCAST_{_podcast:04d}_{_i:04d}"] = (_part, _speaker, 2.2 + _i % 4, 6.666667 - _i % 5, 1.4 + _i % 6)
CLIPS["MSP-PODCAST_1023_0235_0001"] = ("Train", "12", 7.0, 1.0, 4.4)
SEGMENTS = ["MSP-PODCAST_0900_0001", "MSP-PODCAST_0900_0002", "MSP-PODCAST_0900_0003"]
"""Segments that nobody rated."""
NAMES = {"Train": "train", "Development": "development", "Test1": "test"}
SCORED = {clip: row for clip, row in CLIPS.items() if row[0] in NAMES}


def votes_of(a: float, v: float, d: float) -> list[str]:
    """Three rater lines whose mean is the consensus; the first rater comes twice."""

    def rated(shift: float) -> str:
        return f"A:{a + shift}; V:{v + shift:.6f}; D:{d + shift};"

    return [
        f"WORKER00000001; Neutral; Neutral,Concerned; {rated(-0.3)}",
        f"WORKER00000001; Other(so; so); Other(well: hm); {rated(0.3)}",
        f"WORKER00000002; Sad; Sad; {rated(0)}",
    ]


CSV = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n" + "".join(
    f"{clip}.wav,N,{a},{v:.6f},{d},{who},Male,{part}\n" for clip, (part, who, a, v, d) in CLIPS.items()
)
DETAILED = "FileName,EmoDetail\n" + "".join(
    f'{clip}.wav,"{vote}"\n' for clip, (_, _, *values) in CLIPS.items() for vote in votes_of(*values)
)
LABELS = "\n".join(
    "\n".join([f"{clip}.wav; N; A:{a}; V:{v:.6f}; D:{d};", *votes_of(a, v, d)]) + "\n"
    for clip, (_, _, a, v, d) in CLIPS.items()
)
PARTITIONS = "".join(f"{part}; {clip}.wav\n" for clip, (part, *_) in CLIPS.items())
SPEAKERS = "Speaker_12; Male\nSpeaker_7; Female\n\n" + "".join(
    f"{clip}.wav; {who}\n" for clip, (_, who, *_) in CLIPS.items() if who != "Unknown" or clip.endswith("2")
)
CSV_FILES = {"Labels/labels_consensus.csv": CSV}
TEXT_FILES = {"Labels/Labels.txt": LABELS, "Partitions.txt": PARTITIONS, "Speaker_ids.txt": SPEAKERS}
