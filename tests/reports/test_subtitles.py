from emodc.reports.subtitles import Cue, webvtt


def test_cues_stand_in_the_order_of_time_and_say_who() -> None:
    text = webvtt(
        [Cue(61.5, 3725.25, "person 1", "anger (80%)"), Cue(0.0004, 1.5, "person 2", "fear & <x>")]
    )
    assert text == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\n<v person 2>fear &amp; &lt;x&gt;\n\n"
        "00:01:01.500 --> 01:02:05.250\n<v person 1>anger (80%)\n"
    )


def test_no_cue_is_a_file_too() -> None:
    assert webvtt([]) == "WEBVTT\n"
