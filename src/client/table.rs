//! Two kinds of tables, both as the reference program prints them.

use super::session::printable;

/// Smallest width of a column with [`tabbed`], padding included.
const MIN_WIDTH: usize = 6;

/// Spaces after the widest cell of a column with [`tabbed`].
const PADDING: usize = 3;

/// A table with a rule below its header: a space before the first column, two between columns, one at the end.
pub(super) fn ruled<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    colours: bool,
) -> String {
    let rows = cleaned(rows);
    let widths = widths(header, &rows);
    let (bold, grey, normal) = if colours {
        ("\u{1b}[1;37m", "\u{1b}[90m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let mut text = String::new();
    for (word, width) in header.iter().zip(widths) {
        let padding = " ".repeat(width - count(word));
        text += &[" ", bold, word, normal, &padding, " "].concat();
    }
    let total: usize = widths.iter().map(|width| width + 2).sum();
    text += &["\n", grey, &"─".repeat(total), normal, "\n"].concat();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            text += &[" ", cell, &" ".repeat(width - count(cell)), " "].concat();
        }
        text.push('\n');
    }
    text
}

/// A table whose columns are padded with spaces, the last one too.
pub(crate) fn tabbed<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let rows = cleaned(rows);
    let widths = widths(header, &rows).map(|width| MIN_WIDTH.max(width + PADDING));
    let header = header.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        for (cell, width) in row.iter().zip(widths) {
            text += cell;
            text += &" ".repeat(width - count(cell));
        }
        text.push('\n');
    }
    text
}

/// Names come from others: one line each, harmless for a terminal, `-` when there is nothing.
fn cleaned<const N: usize>(rows: &[[String; N]]) -> Vec<[String; N]> {
    let clean = |cell: &String| match printable(cell.as_bytes()).replace(['\n', '\t'], " ") {
        empty if empty.is_empty() => "-".to_owned(),
        text => text,
    };
    rows.iter().map(|row| row.each_ref().map(clean)).collect()
}

fn widths<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> [usize; N] {
    let mut widths = header.map(count);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(count(cell));
        }
    }
    widths
}

fn count(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn a_ruled_table_is_as_the_reference_prints_it() {
        let rows = [
            row(["bash", "custom", "std", "online"]),
            row(["tcp-emb", "application", "emb", "offline"]),
        ];
        let wanted = " NAME     TYPE         AGENT  STATUS  \n\
                      ──────────────────────────────────────\n \
                      bash     custom       std    online  \n \
                      tcp-emb  application  emb    offline \n";
        assert_eq!(
            ruled(["NAME", "TYPE", "AGENT", "STATUS"], &rows, false),
            wanted
        );
        let coloured = ruled(["NAME"], &[row(["é"])], true);
        assert_eq!(
            coloured,
            " \u{1b}[1;37mNAME\u{1b}[0m \n\u{1b}[90m──────\u{1b}[0m\n é    \n"
        );
    }

    #[test]
    fn a_tabbed_table_is_as_the_reference_prints_it() {
        let rows = [
            row([
                "3e00b022-9a6a-5689-bc10-de80395b9c2d",
                "emb",
                "embedded",
                "-",
                "OFFLINE",
            ]),
            row([
                "afb06b1b-84a9-5f09-94e4-6503795b82e4",
                "std",
                "standard",
                "",
                "ONLINE",
            ]),
        ];
        let wanted = "UID                                    NAME   MODE       VERSION   STATUS    \n\
                      3e00b022-9a6a-5689-bc10-de80395b9c2d   emb    embedded   -         OFFLINE   \n\
                      afb06b1b-84a9-5f09-94e4-6503795b82e4   std    standard   -         ONLINE    \n";
        let header = ["UID", "NAME", "MODE", "VERSION", "STATUS"];
        assert_eq!(tabbed(header, &rows), wanted);
        assert_eq!(tabbed(["A"], &[row(["b"])]), "A     \nb     \n");
    }

    #[test]
    fn a_name_cannot_change_the_terminal() {
        let text = tabbed(["A"], &[row(["x\u{1b}[2J\ny"])]);
        assert_eq!(text, "A         \nx\u{fffd}[2J y   \n");
    }
}
