//! Exports every layer of the example `op_table`.

#[path = "../../examples/op_table/main.rs"]
#[allow(dead_code)] // The tests use the parser but neither `main` nor the timer.
mod op_table;

use sconce::prelude::*;

use crate::models::{self, uniform, write};
use op_table::every_layer::EVERY_LAYER;
use op_table::{layers, syntax};

/// The rows of the table whose layers cannot be exported yet.
const UNSUPPORTED: &[&str] = &[];

#[test]
fn every_layer_is_exported_unless_it_is_listed() -> Result<()> {
    sconce::set_exact(true);
    let mut failed = Vec::new();
    for row in syntax::parse(EVERY_LAYER).map_err(Error::msg)? {
        sconce::manual_seed(0);
        let network = layers::config(&row).map_err(Error::msg)?.init(&Device::Cpu)?;
        let num_embeddings = layers::num_embeddings(&row.layers[0]).map_err(Error::msg)?;
        // Sequences have the batch in their second dimension.
        let batch_dim = if row.shape == [5, 2, 4] || row.shape == [5, 2, 8] { 1 } else { 0 };
        let input = |batch: usize| {
            let mut shape = row.shape.clone();
            shape[batch_dim] = batch;
            match num_embeddings {
                Some(rows) => {
                    let ids = (0..shape.iter().product::<usize>() as i64).map(|i| i * 3 % rows as i64);
                    Ok(Tensor::from_iter(ids, &Device::Cpu)?.reshape(shape)?)
                }
                None => uniform(shape, [-2., 2.]),
            }
        };
        if let Err(error) = write("layers", row.name, &network, input) {
            let message = error.to_string();
            assert!(message.contains(models::UNSUPPORTED), "{}: {message}", row.name);
            failed.push(row.name);
        }
    }
    assert_eq!(failed, UNSUPPORTED);
    Ok(())
}
