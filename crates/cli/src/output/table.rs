//! Columns as Go's tabwriter lays them out for Docker: at least ten wide, three spaces between.

use super::plain::plain;

/// Lays out rows of cells under a header. Every line ends with a newline and has no padding at its end
/// beyond what an empty last cell leaves, as Docker prints it.
pub(crate) fn lay_out(rows: &[Vec<String>]) -> String {
    lay_out_wide(rows, 10)
}

/// As [`lay_out`], with columns at least so wide.
pub(crate) fn lay_out_wide(rows: &[Vec<String>], narrowest: usize) -> String {
    const BETWEEN: usize = 3;
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = (cell.chars().count() + BETWEEN).max(narrowest);
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_as_dockers() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = lay_out(&[
            row(&["REPOSITORY", "TAG", "IMAGE ID"]),
            row(&["localhost/very-long", "latest", "0123456789ab"]),
            row(&["b", "1", ""]),
        ]);
        assert_eq!(
            text,
            "REPOSITORY            TAG       IMAGE ID\n\
             localhost/very-long   latest    0123456789ab\n\
             b                     1         \n"
        );
    }
}
