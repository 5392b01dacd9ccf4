//! Prints a network like PyTorch's `print(model)`.

use std::fmt;

use candle_core::Tensor;

use crate::module::{Module, Visitor};

/// The name and the formatted text of each child.
struct Children(Vec<(String, String)>);

impl<'a> Visitor<'a> for Children {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        // A child that is `None` is not printed.
        if child.is_present() {
            self.0.push((name.to_string(), text(child)));
        }
    }
}

/// Formats a module and its children.
pub(crate) fn text(module: &dyn Module) -> String {
    let mut children = Children(Vec::new());
    module.visit(&mut children);
    let kind = module.kind();
    let extra = module.extra();
    if children.0.is_empty() {
        return format!("{kind}({extra})");
    }
    let mut out = format!("{kind}({extra}\n");
    for (names, body) in merge_equal(children.0) {
        let body = body.replace('\n', "\n  ");
        out.push_str(&format!("  {names}: {body}\n"));
    }
    out + ")"
}

/// Merges consecutive list elements with equal text into one line, `(0-2): 3 x Block(…)`, like PyTorch.
fn merge_equal(children: Vec<(String, String)>) -> Vec<(String, String)> {
    // The first name, the text, the number of children and the last name of each line.
    let mut lines: Vec<(String, String, usize, String)> = Vec::new();
    for (name, body) in children {
        let is_element = name.bytes().all(|b| b.is_ascii_digit());
        match lines.last_mut() {
            Some((_, previous, count, last)) if is_element && *previous == body => {
                *count += 1;
                *last = name;
            }
            _ => lines.push((name.clone(), body, 1, name)),
        }
    }
    let format_line = |(first, body, count, last): (String, String, usize, String)| match count {
        1 => (format!("({first})"), body),
        _ => (format!("({first}-{last})"), format!("{count} x {body}")),
    };
    lines.into_iter().map(format_line).collect()
}

/// Implements `Display` for derived networks.
///
/// # Errors
/// Fails if writing to `f` fails.
pub fn display(module: &dyn Module, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&text(module))
}

/// Formats a boolean like Python: `True` or `False`.
pub(crate) fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Formats a float like Python: `0.1`, `1.0`, `1e-05`.
pub(crate) fn python_float(value: f64) -> String {
    if value != 0. && (value.abs() < 1e-4 || value.abs() >= 1e16) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if exponent.trim_start_matches('-').len() == 1 => {
                let sign = if exponent.starts_with('-') { "-" } else { "+" };
                format!("{digits}e{sign}0{}", exponent.trim_start_matches('-'))
            }
            _ => text,
        }
    } else {
        format!("{value:?}")
    }
}
