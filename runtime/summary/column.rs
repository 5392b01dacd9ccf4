//! The columns of the table of a summary.

use crate::symbolic::SymbolicSize;
use crate::text_table::{Align, NONE, with_commas};

use super::LayerSummary;

/// A column of the table of a [`Summary`](crate::Summary), as `col_names` selects them in the package torchinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SummaryColumn {
    /// The shape of the input of the layer's first call.
    InputShape,
    /// The shape of the output of the layer's first call.
    OutputShape,
    /// The size of the outputs of all calls in megabytes (10⁶ bytes). The outputs of the layers in the layer do not
    /// count.
    OutputMegabytes,
    /// The layer in whose launch the first call of the layer ran.
    FusedInto,
    /// The number of elements of the parameters, in parentheses if all of them are frozen.
    Parameters,
    /// `True` if training changes all parameters, `False` if it changes none, `Partial` otherwise.
    Trainable,
    /// The multiply-adds of all calls.
    MultiplyAdds,
}

/// The layers of a row.
pub(super) struct RowLayers<'a> {
    /// The network, which has no path.
    pub network: &'a LayerSummary,
    /// The layer of the row.
    pub layer: &'a LayerSummary,
    /// The layers whose parameters and multiply-adds the row adds up: the layer, and in a row of the last level those
    /// in it.
    pub counted: &'a [LayerSummary],
}

impl SummaryColumn {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::InputShape => "Input Shape",
            Self::OutputShape => "Output Shape",
            Self::OutputMegabytes => "Output (MB)",
            Self::FusedInto => "Fused Into",
            Self::Parameters => "Param #",
            Self::Trainable => "Trainable",
            Self::MultiplyAdds => "Mult-Adds",
        }
    }

    pub(super) fn align(self) -> Align {
        match self {
            Self::InputShape | Self::OutputShape | Self::FusedInto | Self::Trainable => Align::Left,
            Self::OutputMegabytes | Self::Parameters | Self::MultiplyAdds => Align::Right,
        }
    }

    /// Returns the text of this column in a row.
    pub(super) fn cell(self, row: &RowLayers) -> String {
        let layer = row.layer;
        let text = match self {
            Self::InputShape => shape(&layer.input_shape, &layer.input_sizes),
            Self::OutputShape => shape(&layer.output_shape, &layer.output_sizes)
                .or_else(|| (layer.calls == 0).then(|| "not called".to_string())),
            Self::OutputMegabytes => layer.output_shape.is_some().then(|| megabytes(layer.output_bytes)),
            Self::FusedInto => fused_into(row),
            Self::Parameters => parameters(row),
            Self::Trainable => trainable(row),
            Self::MultiplyAdds => count(row.sum(|layer| layer.multiply_adds)),
        };
        text.unwrap_or_else(|| NONE.to_string())
    }
}

impl RowLayers<'_> {
    /// Adds up a number of all layers of the row.
    fn sum(&self, number: impl Fn(&LayerSummary) -> u64) -> u64 {
        self.counted.iter().map(number).fold(0, u64::saturating_add)
    }

    fn parameters(&self) -> u64 {
        self.sum(|layer| layer.parameters as u64)
    }

    fn trainable_parameters(&self) -> u64 {
        self.sum(|layer| layer.trainable_parameters as u64)
    }
}

/// Returns a size in megabytes, as in the totals below the table.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e6)
}

/// Returns a shape as text, with names if it has some.
fn shape(dims: &Option<Vec<usize>>, sizes: &Option<Vec<SymbolicSize>>) -> Option<String> {
    let dims = dims.as_ref().map(|dims| format!("{dims:?}"));
    sizes.as_ref().map(|sizes| format!("{sizes:?}")).or(dims)
}

fn fused_into(row: &RowLayers) -> Option<String> {
    let path = row.layer.fused_into.as_ref()?;
    Some(if path.is_empty() { row.network.kind.clone() } else { path.clone() })
}

fn parameters(row: &RowLayers) -> Option<String> {
    let text = count(row.parameters())?;
    Some(if row.trainable_parameters() == 0 { format!("({text})") } else { text })
}

fn trainable(row: &RowLayers) -> Option<String> {
    let text = match (row.trainable_parameters(), row.parameters()) {
        (_, 0) => return None,
        (0, _) => "False",
        (trainable, all) if trainable == all => "True",
        _ => "Partial",
    };
    Some(text.to_string())
}

fn count(number: u64) -> Option<String> {
    (number > 0).then(|| with_commas(number))
}
