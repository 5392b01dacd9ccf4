//! The feature `plots`: charts of a run.

use std::fs;
use std::path::Path;

use sconce::prelude::*;
use sconce::train::log::plot_curves;

use crate::common::message;

fn chart(path: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(path)?)
}

#[test]
fn a_run_with_a_log_has_charts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let run = directory.path().join("runs").join("a");
    let line = Linear::config(1, 1).init(&Device::Cpu)?;
    let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    let data = (x.clone(), x);
    let trainer =
        || Trainer::new(&line, mse_loss, Sgd::new(0.01)).quiet(true).metric(MeanAbsoluteError::new());
    trainer().log(&run).fit(&data, &data, Epochs(2))?;
    let svg = String::from_utf8(chart(&run.join("curves.svg"))?).unwrap();
    for text in ["loss", "mae", "learning rate", "training", "validation", "optimizer steps"] {
        assert!(
            svg.contains(&format!("\n{text}\n")) || svg.contains(&format!("\n{text} (log scale)\n")),
            "{text}"
        );
    }
    let png = chart(&run.join("curves.png"))?;
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    // A run without epochs has no charts.
    let empty = directory.path().join("empty");
    trainer().log(&empty).fit(&data, &data, Epochs(0))?;
    assert!(!empty.join("curves.png").exists());
    // After training, the charts can be drawn again.
    fs::remove_file(run.join("curves.png"))?;
    plot_curves(&run)?;
    assert_eq!(chart(&run.join("curves.png"))?, png);
    let files = fs::read_dir(&run)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    assert!(files.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{files:?}");
    Ok(())
}

#[test]
fn tables_with_any_values_can_be_drawn() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let run = directory.path();
    let error = message(plot_curves(run));
    assert!(error.ends_with("expected a run with at least one row in metrics.csv"), "{error}");
    let header = "epoch,step,train_loss,valid_loss,train_\"a<b\",learning_rate\n";
    for rows in [
        "1,3,NaN,NaN,NaN,NaN\n2,6,inf,-inf,1e308,-1e308\n",
        "1,1e300,0.5,1e30,1,0.1\n2,-1e300,1e-320,5,5,5\n3,x,,,,\n",
    ] {
        fs::write(run.join("metrics.csv"), format!("{header}{rows}"))?;
        fs::write(run.join("steps.csv"), "step,loss,learning_rate\n1,NaN,0\n")?;
        plot_curves(run)?;
        assert!(chart(&run.join("curves.png"))?.len() > 1000);
    }
    Ok(())
}
