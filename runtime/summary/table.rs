//! Prints a summary as a table, like torchinfo.

use std::fmt;

use crate::text_table::{Align, with_commas, write_table};

use super::column::{RowLayers, megabytes};
use super::{LayerSummary, Summary, SummaryColumn};

/// Prints the layers and the totals. A layer that is called several times has the multiply-adds of all calls and the
/// number of calls; one that is not called has no shapes. The numbers of frozen parameters are in parentheses. Unless
/// [`columns`](Summary::columns) selects other columns, the column `Fused Into` is printed if a layer of a row ran in
/// the launch of another layer.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selected = self.columns.clone().unwrap_or_else(|| self.default_columns());
        let mut header = vec![("Layer (type (name))", Align::Left)];
        header.extend(selected.iter().map(|column| (column.title(), column.align())));
        let rows: Vec<Vec<String>> = self.rows(&selected).collect();
        let line = write_table(f, &header, &rows)?;
        self.write_totals(f, &line)
    }
}

impl Summary {
    fn write_totals(&self, f: &mut fmt::Formatter<'_>, line: &str) -> fmt::Result {
        let (unit, factor) = multiply_add_unit(self.multiply_adds);
        if !self.examples.is_empty() {
            let examples: Vec<_> =
                self.examples.iter().map(|(name, size)| format!("{name} = {size}")).collect();
            writeln!(f, "Numbers for {}", examples.join(", "))?;
        }
        writeln!(f, "Total params: {}", with_commas(self.parameters as u64))?;
        writeln!(f, "Trainable params: {}", with_commas(self.trainable_parameters as u64))?;
        writeln!(f, "Non-trainable params: {}", with_commas(self.non_trainable_parameters() as u64))?;
        writeln!(f, "Total mult-adds{unit}: {:.2}", self.multiply_adds as f64 / factor)?;
        writeln!(f, "{line}")?;
        writeln!(f, "Input size (MB): {}", megabytes(self.input_bytes))?;
        let activations = self.activation_bytes.saturating_mul(2);
        writeln!(f, "Forward/backward pass size (MB): {}", megabytes(activations))?;
        writeln!(f, "Params size (MB): {}", megabytes(self.parameter_bytes))?;
        writeln!(f, "Estimated Total Size (MB): {}", megabytes(self.total_bytes()))?;
        write!(f, "{line}")
    }

    fn default_columns(&self) -> Vec<SummaryColumn> {
        use SummaryColumn::*;
        let mut shown = self.layers.iter().filter(|layer| layer.depth <= self.max_depth);
        let is_fused = shown.any(|layer| layer.fused_into.is_some());
        let fused_into = is_fused.then_some(FusedInto);
        let before = [InputShape, OutputShape].into_iter();
        before.chain(fused_into).chain([Parameters, MultiplyAdds]).collect()
    }

    /// Returns the cells of the rows down to the level to which the table is limited.
    fn rows(&self, columns: &[SummaryColumn]) -> impl Iterator<Item = Vec<String>> {
        let is_shown = |(_, layer): &(usize, &LayerSummary)| layer.depth <= self.max_depth;
        self.layers.iter().enumerate().filter(is_shown).map(move |(i, layer)| {
            let counted = if layer.depth == self.max_depth { self.with_inner_layers(i) } else { i..i + 1 };
            let row = RowLayers { network: &self.layers[0], layer, counted: &self.layers[counted] };
            [self.label(i)].into_iter().chain(columns.iter().map(|column| column.cell(&row))).collect()
        })
    }

    /// Returns the range of a layer and the layers in it.
    fn with_inner_layers(&self, layer: usize) -> std::ops::Range<usize> {
        let depth = self.layers[layer].depth;
        let inner = self.layers[layer + 1..].iter().take_while(|inner| inner.depth > depth).count();
        layer..layer + 1 + inner
    }

    /// Returns the type and the name of a layer after the branches that lead to it: `│    └─Conv2d (conv1)`.
    fn label(&self, layer: usize) -> String {
        let LayerSummary { name, kind, depth, calls, .. } = &self.layers[layer];
        let mut label = match *depth {
            0 => kind.clone(),
            depth => {
                let bar =
                    |depth: usize| if self.is_last(self.around(layer, depth)) { "     " } else { "│    " };
                let bars: String = (1..depth).map(bar).collect();
                let branch = if self.is_last(layer) { "└─" } else { "├─" };
                format!("{bars}{branch}{kind} ({name})")
            }
        };
        if *calls > 1 {
            label.push_str(&format!(", {calls} calls"));
        }
        label
    }

    /// Returns the layer at this depth around a layer.
    fn around(&self, layer: usize, depth: usize) -> usize {
        self.layers[..layer].iter().rposition(|outer| outer.depth == depth).unwrap_or(layer)
    }

    /// Returns `true` if no layer follows in the layer around it.
    fn is_last(&self, layer: usize) -> bool {
        let depth = self.layers[layer].depth;
        let next = self.layers[layer + 1..].iter().find(|next| next.depth <= depth);
        next.is_none_or(|next| next.depth < depth)
    }
}

/// Returns the unit in which a number of multiply-adds is printed, and its factor.
fn multiply_add_unit(number: u64) -> (&'static str, f64) {
    let units = [(" (T)", 1e12), (" (G)", 1e9), (" (M)", 1e6), (" (k)", 1e3)];
    units.into_iter().find(|(_, factor)| number as f64 >= *factor).unwrap_or(("", 1.))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_end_at_the_last_layer() -> crate::Result<()> {
        use crate::prelude::*;
        let linear = || Linear::config(1, 1).init(&Device::Cpu);
        let network = vec![vec![vec![linear()?]], vec![vec![linear()?], vec![linear()?]]];
        let summary = network.summary(Signal::meta((1, 1), DType::F32))?;
        let labels: Vec<String> = (0..summary.layers.len()).map(|i| summary.label(i)).collect();
        let expected = [
            "Sequential",
            "├─Sequential (0)",
            "│    └─Sequential (0)",
            "│         └─Linear (0)",
            "└─Sequential (1)",
            "     ├─Sequential (0)",
            "     │    └─Linear (0)",
            "     └─Sequential (1)",
            "          └─Linear (0)",
        ];
        assert_eq!(labels, expected);
        Ok(())
    }

    #[test]
    fn multiply_adds_have_a_unit() {
        assert_eq!(multiply_add_unit(999).0, "");
        assert_eq!(multiply_add_unit(1_000_000), (" (M)", 1e6));
        assert_eq!(multiply_add_unit(u64::MAX).0, " (T)");
    }
}
