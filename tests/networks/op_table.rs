//! Tests the tables of the example `op_table`: which layers they may contain, the arguments of the layers, and error
//! messages.

#[path = "../../examples/op_table/main.rs"]
#[allow(dead_code)] // The tests use the parser but neither `main` nor the timer.
#[expect(clippy::module_inception, reason = "named after the example")]
mod op_table;

use sconce::SymbolicSize;
use sconce::prelude::*;

use crate::without_fusion::without_fusion;
use op_table::every_layer::EVERY_LAYER;
use op_table::syntax::Row;
use op_table::{layers, syntax};

fn build(row: &Row) -> Result<Sequential, String> {
    layers::config(row)?.init(&Device::Cpu).map_err(|error| error.to_string())
}

/// Parses a table, builds its layers, and returns the first error.
fn error(table: &str) -> String {
    let rows = syntax::parse(table);
    rows.and_then(|rows| rows.iter().try_for_each(|row| build(row).map(drop))).unwrap_err()
}

#[test]
fn the_table_of_every_layer_has_a_row_for_each_layer() {
    for name in layers::NAMES {
        assert!(EVERY_LAYER.contains(&format!(" {name}(")), "expected a row with {name}");
    }
}

/// Returns the numbers of all tensors of a network.
fn numbers(network: &Sequential) -> Result<Vec<Vec<f64>>> {
    let state = network.state_dict();
    let numbers = |tensor: &Tensor| Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?);
    state.iter().map(|(_, tensor)| numbers(tensor)).collect()
}

#[test]
fn every_layer_computes_shapes_without_numbers() -> Result<()> {
    for row in syntax::parse(EVERY_LAYER).map_err(Error::msg)? {
        let network = build(&row).map_err(Error::msg)?;
        let without_parameters = layers::config(&row).map_err(Error::msg)?.meta()?;
        let is_embedding = layers::num_embeddings(&row.layers[0]).map_err(Error::msg)?.is_some();
        let dtype = if is_embedding { DType::U32 } else { DType::F32 };
        let x = Tensor::ones(&row.shape[..], dtype, &Device::Cpu)?;
        for mode in [Mode::Eval, Mode::Train] {
            let before = numbers(&network.deep_clone()?)?;
            let shape = network.call(Signal::meta(&row.shape[..], dtype), mode);
            assert_eq!(numbers(&network)?, before, "{} in {mode:?}", row.name);
            let same = without_parameters.call(Signal::meta(&row.shape[..], dtype), mode);
            assert_eq!((same.dims()?, same.dtype()?), (shape.dims()?, shape.dtype()?), "{}", row.name);
            let y = network.call((&x).into(), mode).into_tensor()?;
            assert_eq!((shape.dims()?, shape.dtype()?), (y.dims(), y.dtype()), "{} in {mode:?}", row.name);
        }
    }
    Ok(())
}

/// The size of the batch has a name in the runs with the batch sizes 2, 3 and 5. The output must have the size that
/// follows for another one.
#[test]
fn every_layer_computes_named_sizes() -> Result<()> {
    for row in syntax::parse(EVERY_LAYER).map_err(Error::msg)? {
        let network = build(&row).map_err(Error::msg)?;
        let is_embedding = layers::num_embeddings(&row.layers[0]).map_err(Error::msg)?.is_some();
        let dtype = if is_embedding { DType::U32 } else { DType::F32 };
        // Sequences have the batch in their second dimension.
        let batch_dim = if row.shape == [5, 2, 4] || row.shape == [5, 2, 8] { 1 } else { 0 };
        let mut named: Vec<SymbolicSize> = row.shape.iter().map(|size| (*size).into()).collect();
        named[batch_dim] = "batch".into();
        let sizes = network.output_sizes(Signal::symbolic(named, dtype))?.remove(0);
        assert!(sizes.iter().any(|size| size.number().is_none()), "{}: {sizes:?}", row.name);
        let mut shape = row.shape.clone();
        shape[batch_dim] = 7;
        let y = network.call(Signal::meta(&shape[..], dtype), Mode::Eval);
        let at_seven: Vec<_> = sizes.iter().map(|size| size.clone().example(7).example_size()).collect();
        let expected: Vec<_> = y.dims()?.iter().copied().map(Some).collect();
        assert_eq!(at_seven, expected, "{}: {sizes:?}", row.name);
    }
    Ok(())
}

/// The launches of a profile contain every multiply-add of the summary, and read the input and all parameters.
#[test]
fn every_layer_has_the_work_of_its_operands_in_a_profile() -> Result<()> {
    for row in syntax::parse(EVERY_LAYER).map_err(Error::msg)? {
        let network = build(&row).map_err(Error::msg)?;
        let is_embedding = layers::num_embeddings(&row.layers[0]).map_err(Error::msg)?.is_some();
        let dtype = if is_embedding { DType::U32 } else { DType::F32 };
        let x = Signal::from(Tensor::ones(&row.shape[..], dtype, &Device::Cpu)?);
        let summary = network.summary(x.clone())?;
        let profile = network.profile(x)?;
        assert_eq!(profile.multiply_adds, summary.multiply_adds, "{}\n{profile}", row.name);
        // An embedding reads only the rows of its indices, and views and layers without launches read nothing.
        let parameters = if is_embedding { 0 } else { summary.parameter_bytes };
        if profile.bytes_read > 0 || parameters > 0 {
            let operands = summary.input_bytes + parameters;
            assert!(profile.bytes_read >= operands, "{}: {operands} bytes\n{profile}", row.name);
            assert!(profile.bytes_written > 0, "{}\n{profile}", row.name);
        }
    }
    Ok(())
}

#[test]
fn layers_have_pytorchs_arguments() -> Result<()> {
    let expected = [
        (
            "Conv2d(4, 8, (3, 1), 2, (1, 0), bias=False)",
            "Conv2d(4, 8, kernel_size=(3, 1), stride=(2, 2), padding=(1, 0), bias=False)",
        ),
        ("Conv1d(4, 8, 3, padding='same')", "Conv1d(4, 8, kernel_size=(3,), stride=(1,), padding=same)"),
        (
            "ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, False)",
            "ConvTranspose2d(4, 2, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1), groups=2, \
             bias=False)",
        ),
        (
            "BatchNorm2d(6, 1e-3, momentum=None, affine=False)",
            "BatchNorm2d(6, eps=0.001, momentum=None, affine=False, track_running_stats=True)",
        ),
        (
            "LayerNorm([4, 8], elementwise_affine=False,)",
            "LayerNorm((4, 8), eps=1e-05, elementwise_affine=False)",
        ),
        (
            "MaxPool2d(3, None, 1, 2, False, True)",
            "MaxPool2d(kernel_size=3, stride=3, padding=1, dilation=2, ceil_mode=True)",
        ),
        ("Hardtanh(-2, max_val=.5, inplace=True)", "Hardtanh(min_val=-2.0, max_val=0.5)"),
        ("LSTM(4, 8, 2, proj_size=3)", "LSTM(4, 8, proj_size=3, num_layers=2)"),
        ("PReLU(6)", "PReLU(num_parameters=6)"),
        (
            "Sequential(Softmax((-1)), GELU(approximate=\"tanh\"))",
            "Sequential(\n  (0): Softmax(dim=-1)\n  (1): GELU(approximate='tanh')\n)",
        ),
    ];
    for (layer, display) in expected {
        let table = format!("name | {layer} | 1 2 # a comment");
        let rows = syntax::parse(&table).map_err(Error::msg)?;
        assert_eq!((rows[0].line, rows[0].name, &rows[0].shape[..]), (1, "name", &[1, 2][..]));
        let network = build(&rows[0]).map_err(Error::msg)?;
        let display = display.replace('\n', "\n  ");
        assert_eq!(network.to_string(), format!("Sequential(\n  (0): {display}\n)"));
    }
    Ok(())
}

#[test]
fn errors_name_the_line_and_the_token() {
    let expected = [
        ("# comment\n\na | ReLU()", "line 3: expected `name | layers | shape`, found `a | ReLU()`"),
        ("a | ReLU() | 1\na | Tanh() | 1", "line 2: expected a new name, found `a`, the name of line 1"),
        ("a | ReLU() | 1 x", "line 1: expected a shape of integers, found `x` in `1 x`"),
        (
            "a | ReLU() | ",
            "line 1: expected the shape of the input after the second `|`, found the end of the line",
        ),
        ("a | ReLU | 1", "line 1: expected `(` after `ReLU`, found the end of the layers"),
        ("a | ReLU() Tanh() | 1", "line 1: expected `+` or `|` after a layer, found `Tanh`"),
        ("a | ReLU() + | 1", "line 1: expected a layer, found the end of the layers"),
        ("a | Linear(1, 2 3) | 1", "line 1: expected `,` or `)`, found `3`"),
        ("a | Linear(1, 2x) | 1", "line 1: expected a number, found `2x`"),
        ("a | Linear(1, out_features=) | 1", "line 1: expected a value, found `)`"),
        (
            "a | Linear(in_features=1, 2) | 1",
            "line 1: expected a keyword argument after `in_features=`, found `2`",
        ),
        ("a | GELU('tanh) | 1", "line 1: expected `'` at the end of `'tanh)`"),
        ("a | Foo() | 1", "line 1: unknown layer `Foo`"),
        ("a | Linear(1) | 1", "line 1: expected the argument `out_features` of `Linear`"),
        (
            "a | Linear(1, -2) | 1",
            "line 1: expected an integer of at least 0 as `out_features` of `Linear`, found `-2`",
        ),
        ("a | Linear(1, 2, size=3) | 1", "line 1: `Linear` has no argument `size`"),
        (
            "a | Linear(1, 2, in_features=3) | 1",
            "line 1: the argument `in_features` of `Linear` is given twice",
        ),
        ("a | ReLU(True, 1) | 1", "line 1: expected at most 1 arguments of `ReLU`, found `1`"),
        (
            "a | GELU('erf') | 1",
            "line 1: expected \"none\" or \"tanh\" as `approximate` of `GELU`, found `'erf'`",
        ),
        (
            "a | Conv2d(1, 2, (3, 3, 3)) | 1",
            "line 1: expected an integer or two integers of at least 0 as `kernel_size` of `Conv2d`, found `(3, 3, 3)`",
        ),
        (
            "a | Conv2d(1, 2, 3, stride=None) | 1",
            "line 1: expected an integer or two integers of at least 0 as `stride` of `Conv2d`, found `None`",
        ),
        (
            "a | MaxPool2d(2, return_indices=True) | 1",
            "line 1: expected False as `return_indices` of `MaxPool2d`, found `True`",
        ),
        ("a | Sequential(3) | 1", "line 1: expected layers in `Sequential`, found `3`"),
    ];
    for (table, message) in expected {
        assert_eq!(error(table), message);
    }
    assert!(error("a | Conv2d(3, 4, 1, groups=2) | 1").contains("expected groups to divide"));
}

/// Layers without an operation in evaluation mode report their shapes too. An input with numbers takes the paths of the
/// kernels, and one without numbers the rules for shapes.
#[test]
fn a_summary_has_the_shapes_of_every_layer() -> Result<()> {
    for row in syntax::parse(EVERY_LAYER).map_err(Error::msg)? {
        let name = row.name;
        let network = build(&row).map_err(Error::msg)?;
        let is_index = layers::num_embeddings(&row.layers[0]).map_err(Error::msg)?.is_some();
        let dtype = if is_index { DType::U32 } else { DType::F32 };
        let summary = network.summary(Signal::meta(row.shape.clone(), dtype))?;
        let zeros = Tensor::zeros(row.shape.clone(), dtype, &Device::Cpu)?;
        assert_eq!(without_fusion(network.summary(zeros.clone().into())?), summary, "{name}");

        let layers = summary.layers.iter().filter(|layer| layer.depth <= 1);
        let shapes: Vec<_> = layers.map(|layer| (&layer.input_shape, &layer.output_shape)).collect();
        let input = Some(row.shape.clone());
        let output = Some(network.forward(&zeros)?.dims().to_vec());
        assert_eq!(shapes[0], (&input, &output), "{name}");
        // Each layer reads the output of the layer before it.
        let mut before = &input;
        for (input, output) in &shapes[1..] {
            assert_eq!(*input, before, "{name}\n{summary}");
            before = output;
        }
        assert_eq!(before, &output, "{name}");
        assert!(summary.layers.iter().all(|layer| layer.calls <= 1), "{name}\n{summary}");
    }
    Ok(())
}
