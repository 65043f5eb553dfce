//! Tables of the report, as Markdown. A row must have as many cells as there are headings.

/// A table with these headings and rows, the cells of each separated by ` | `.
pub fn table(headings: &str, rows: impl IntoIterator<Item = String>) -> String {
    let columns = headings.split(" | ").count();
    let mut text = format!("| {headings} |\n|{}\n", "---|".repeat(columns));
    for row in rows {
        debug_assert_eq!(row.split(" | ").count(), columns, "{row} under {headings}");
        text.extend(["| ", &row, " |\n"]);
    }
    text
}

/// A table with a row for each round, which begins with its number.
pub fn table_of_rounds<T>(headings: &str, rounds: &[T], cells: impl Fn(&T) -> String) -> String {
    let rows =
        (1_usize..).zip(rounds).map(|(number, round)| format!("{number} | {}", cells(round)));
    table(&format!("round | {headings}"), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_numbered_rows() {
        let expected =
            "| round | rate /s | ratio |\n|---|---|---|\n| 1 | 7 | 0.70 |\n| 2 | 9 | 0.90 |\n";
        let cells = |rate: &u32| format!("{rate} | {:.2}", f64::from(*rate) / 10.0);
        assert_eq!(table_of_rounds("rate /s | ratio", &[7, 9], cells), expected);
    }
}
