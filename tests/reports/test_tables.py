from emodc.reports.tables import markdown_table


def test_a_table_has_a_line_for_each_row_below_its_heading() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == [
        *("| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 | 4 |")
    ]
