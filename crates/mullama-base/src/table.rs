//! Tables and wrapped text, for terminals of any width.

use std::ops::Range;

/// Formats a table whose columns are as wide as their widest cells, without padding in the last column. The columns in
/// `numbers` are right-aligned. If the table is wider than `width`, each row becomes a block of lines instead: the
/// first cell, then the other cells after their headings.
pub fn table(
    header: &[&str],
    rows: &[Vec<String>],
    numbers: &Range<usize>,
    width: Option<usize>,
) -> String {
    let text = columns(header, rows, numbers);
    match width {
        Some(width) if text.lines().any(|line| line.chars().count() > width) => {
            stacked(header, rows, width)
        }
        _ => text,
    }
}

fn columns(header: &[&str], rows: &[Vec<String>], numbers: &Range<usize>) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if numbers.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    line(header.to_vec()) + &rows.collect::<String>()
}

fn stacked(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let widest = header.iter().skip(1).map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let mut cells = header.iter().zip(row);
        if let Some((_, first)) = cells.next() {
            text += &wrapped(first, width);
            text.push('\n');
        }
        for (name, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            text += &wrapped(&format!("  {name:<widest$}  {cell}"), width);
            text.push('\n');
        }
    }
    text
}

/// Wraps text at spaces into lines of at most `width` characters. Continuation lines are indented by four more spaces
/// than the original line. Longer words are not broken.
pub fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| wrapped_line(line, width)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let indent = line.chars().take_while(|letter| *letter == ' ').count();
    let mut wrapped = " ".repeat(indent);
    let (mut length, mut is_first) = (indent, true);
    // Multiple spaces within a line are preserved, since they separate columns.
    for word in line.trim_start().split_inclusive(' ') {
        let own = word.trim_end().chars().count();
        if !is_first && own > 0 && length + own > width {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            wrapped += &" ".repeat(indent + 4);
            length = indent + 4;
        }
        wrapped += word;
        length += word.chars().count();
        is_first = false;
    }
    wrapped.truncate(wrapped.trim_end().len());
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [["CUDA0", "12", "a card"], ["CPU", "3", ""]]
            .map(|row| row.map(str::to_owned).into())
            .into()
    }

    #[test]
    fn columns_line_up() {
        let text = table(&["NAME", "LAYERS", "WHAT"], &rows(), &(1..2), Some(80));
        assert_eq!(text, "NAME   LAYERS  WHAT\nCUDA0      12  a card\nCPU         3\n");
        assert_eq!(table(&["NAME", "LAYERS", "WHAT"], &rows(), &(1..2), None), text);
    }

    #[test]
    fn tables_wider_than_the_terminal_are_stacked() {
        let text = table(&["NAME", "LAYERS", "WHAT"], &rows(), &(1..2), Some(18));
        assert_eq!(text, "CUDA0\n  LAYERS  12\n  WHAT    a card\nCPU\n  LAYERS  3\n");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrapped("a bc def", 8), "a bc def");
        assert_eq!(wrapped("a bc def ghi", 8), "a bc def\n    ghi");
        assert_eq!(wrapped("  a bc def", 8), "  a bc\n      def");
        assert_eq!(wrapped("incomprehensibilities", 8), "incomprehensibilities");
        for width in 1..60 {
            let text = "Other ways, the best first: kv_cache_type  q8_0, 12 of 33 layers on GPUs";
            let whole: Vec<_> = text.split_whitespace().collect();
            let broken = wrapped(text, width);
            assert_eq!(broken.split_whitespace().collect::<Vec<_>>(), whole);
            assert!(broken.lines().all(|line| {
                line.chars().count() <= width || line.split_whitespace().count() == 1
            }));
        }
    }
}
