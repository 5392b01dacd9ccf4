//! Draws the speed chart `benches/speed.svg` and writes the tables of `benches/RESULTS.md` and `README.md`, from the
//! measurements in `benches/results/`.

#[path = "common/arguments.rs"]
mod arguments;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const HELP: &str = "\
Draws benches/speed.svg and writes the tables of benches/RESULTS.md and README.md from benches/results/*.csv.

usage: cargo run --release --example speed_chart -- [--short]

--short: write nothing, and fail if a file is out of date";

/// The column of networks.csv with the times of the baseline. The chart shows speeds relative to it.
const BASELINE: &str = "PyTorch";
/// The columns of networks.csv that are drawn as bars.
const BARS: [&str; 4] = ["sconce", "OpenVINO", "ONNX Runtime", "torch.compile"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let short = arguments::parse(HELP, arguments::only_short);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let layers = Csv::read(&root.join("benches/results/layers.csv"))?;
    let networks = Csv::read(&root.join("benches/results/networks.csv"))?;

    let results = fs::read_to_string(root.join("benches/RESULTS.md"))?;
    let results = replace(&results, "layers", &layer_table(&layers)?)?;
    let results = replace(&results, "networks", &network_table(&networks)?)?;
    let readme = fs::read_to_string(root.join("README.md"))?;
    let readme = replace(&readme, "speed", &summary(&layers)?)?;

    let files =
        [("benches/speed.svg", chart(&networks)?), ("benches/RESULTS.md", results), ("README.md", readme)];
    for (path, content) in files {
        if fs::read_to_string(root.join(path)).is_ok_and(|old| old == content) {
            println!("{path} is up to date");
        } else if short {
            return Err(
                format!("{path} is out of date: run `cargo run --release --example speed_chart`").into()
            );
        } else {
            fs::write(root.join(path), content)?;
            println!("wrote {path}");
        }
    }
    Ok(())
}

/// A table of comma-separated values. Lines `# key: value` before the header describe the measurement.
struct Csv {
    settings: Vec<(String, String)>,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (comments, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
        let settings = comments.iter().filter_map(|line| line[1..].split_once(": "));
        let mut lines =
            lines.iter().map(|line| line.split(',').map(|cell| cell.trim().to_string()).collect());
        let header: Vec<String> = lines.next().ok_or("expected a header")?;
        let rows: Vec<Vec<String>> = lines.collect();
        if let Some(row) = rows.iter().find(|row| row.len() != header.len()) {
            return Err(format!("{}: expected {} cells, found {row:?}", path.display(), header.len()).into());
        }
        let settings = settings.map(|(key, value)| (key.trim().into(), value.trim().into())).collect();
        Ok(Self { settings, header, rows })
    }

    /// Returns the value of the line `# key: value`.
    fn setting(&self, key: &str) -> Result<&str> {
        let found = self.settings.iter().find(|(name, _)| name == key);
        Ok(&found.ok_or_else(|| format!("expected a line `# {key}: …`"))?.1)
    }

    fn cell<'a>(&self, row: &'a [String], column: &str) -> Result<&'a str> {
        let index = self.header.iter().position(|name| name == column);
        Ok(&row[index.ok_or_else(|| format!("expected a column `{column}`"))?])
    }

    fn number(&self, row: &[String], column: &str) -> Result<f64> {
        let cell = self.cell(row, column)?;
        cell.parse().map_err(|_| format!("expected a number in column `{column}`, found {cell:?}").into())
    }
}

/// Replaces the text between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn replace(text: &str, name: &str, content: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let missing = || format!("expected the markers `{}` and `{end}`", begin.trim_end());
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}{content}{end}{after}"))
}

/// Returns the table of layers in Markdown.
fn layer_table(csv: &Csv) -> Result<String> {
    let peak: f64 = csv.setting("peak_gflops")?.parse()?;
    let mut table = format!(
        "{}; {}.\nPeak: {peak} GFLOP/s. Other frameworks: {}.\n\n\
         | layer | sconce | candle | fastest other | | sconce / other | share of peak |\n\
         |---|---|---|---|---|---|---|\n",
        csv.setting("machine")?,
        csv.setting("date")?,
        csv.setting("frameworks")?
    );
    for row in &csv.rows {
        let sconce = csv.number(row, "sconce_ms")?;
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {:.2} | {:.0} % |",
            csv.cell(row, "layer")?,
            csv.cell(row, "sconce_ms")?,
            csv.cell(row, "candle_ms")?,
            csv.cell(row, "other_ms")?,
            csv.cell(row, "other")?,
            sconce / csv.number(row, "other_ms")?,
            100. * csv.number(row, "gflop")? / sconce * 1e3 / peak
        )?;
    }
    Ok(table + "\n" + &summary(csv)?)
}

/// Returns one sentence that compares sconce's times with those of the fastest other framework.
fn summary(csv: &Csv) -> Result<String> {
    let ratio = |row: &Vec<String>| Ok(csv.number(row, "sconce_ms")? / csv.number(row, "other_ms")?);
    let ratios = csv.rows.iter().map(ratio).collect::<Result<Vec<f64>>>()?;
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let (worst, slowest) = ratios.iter().zip(&csv.rows).fold((0., ""), |worst, (&ratio, row)| {
        if ratio > worst.0 { (ratio, row[0].as_str()) } else { worst }
    });
    let ahead = ratios.iter().filter(|ratio| **ratio <= 1.).count();
    Ok(format!(
        "Over {} convolution layers, sconce takes {mean:.2} times as long as the faster of ONNX Runtime and OpenVINO\n\
         (geometric mean; {worst:.2} times in the worst layer, `{slowest}`), and is faster in {ahead} of {}.\n",
        ratios.len(),
        ratios.len()
    ))
}

/// Returns the table of networks in Markdown.
fn network_table(csv: &Csv) -> Result<String> {
    let mut table = format!("{}; {}.\n\n", csv.setting("machine")?, csv.setting("date")?);
    writeln!(table, "| {} |\n|{}", csv.header.join(" | "), "---|".repeat(csv.header.len()))?;
    for row in &csv.rows {
        writeln!(table, "| {} |", row.join(" | "))?;
    }
    Ok(table)
}

/// Draws a bar for each network and each column of [`BARS`]: the inference speed at batch size 1, relative to the
/// baseline.
fn chart(csv: &Csv) -> Result<String> {
    // The left end of the bars, in pixels, like all sizes below.
    const LEFT: f64 = 140.;
    // The width of the image.
    const WIDTH: f64 = 760.;
    // The top of the first bar.
    const TOP: f64 = 74.;
    // The height of a bar.
    const BAR: f64 = 11.;
    // The height of the bars of one network and the gap below them.
    const GROUP: f64 = BARS.len() as f64 * BAR + 14.;

    let mut groups = Vec::new();
    for row in &csv.rows {
        if csv.cell(row, "task")? == "inference" && csv.cell(row, "batch")? == "1" {
            let baseline = csv.number(row, BASELINE)?;
            let speed = |column| Ok(baseline / csv.number(row, column)?);
            groups.push((csv.cell(row, "network")?, BARS.map(speed)));
        }
    }
    let bottom = TOP + GROUP * groups.len() as f64;
    let mut bars = String::new();
    let mut max_speed: f64 = 1.;
    let mut speeds = Vec::new();
    for (network, group) in groups {
        let group = group.into_iter().collect::<Result<Vec<f64>>>()?;
        max_speed = group.iter().copied().fold(max_speed, f64::max);
        speeds.push((network, group));
    }
    let scale = (WIDTH - LEFT - 60.) / max_speed;
    for (i, (network, group)) in speeds.iter().enumerate() {
        let top = TOP + GROUP * i as f64;
        let middle = top + BAR * BARS.len() as f64 / 2. + 4.;
        writeln!(
            bars,
            r#"<text class="text" x="{}" y="{middle}" text-anchor="end">{network}</text>"#,
            LEFT - 10.
        )?;
        for (j, speed) in group.iter().enumerate() {
            let (y, width) = (top + BAR * j as f64, speed * scale);
            let height = BAR - 1.5;
            writeln!(
                bars,
                r#"<rect class="bar{j}" x="{LEFT}" y="{y}" width="{width:.1}" height="{height}"/>"#
            )?;
            let (x, y) = (LEFT + width + 5., y + 8.5);
            let class = if j == 0 { "value strong" } else { "value" };
            writeln!(bars, r#"<text class="{class}" x="{x:.1}" y="{y}">{speed:.1}×</text>"#)?;
        }
    }
    let mut legend = String::new();
    for (j, name) in BARS.iter().enumerate() {
        let x = LEFT + 125. * j as f64;
        writeln!(legend, r#"<rect class="bar{j}" x="{x}" y="44" width="11" height="11"/>"#)?;
        writeln!(legend, r#"<text class="text" x="{}" y="54">{name}</text>"#, x + 17.)?;
    }
    let (line, label) = (LEFT + scale, bottom + 4.);
    let (machine, date) = (csv.setting("machine")?, csv.setting("date")?);
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">
<title id="title">Inference speed relative to {BASELINE}, one image</title>
<style>
text {{ font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }}
.text {{ fill: #1f2328 }}
.heading {{ fill: #1f2328; font-size: 15px; font-weight: 600 }}
.value {{ fill: #59636e; font-size: 10px }}
.strong {{ fill: #1f2328; font-weight: 600 }}
.line {{ stroke: #59636e; stroke-dasharray: 3 3 }}
.bar0 {{ fill: #c2410c }}
.bar1 {{ fill: #57606a }}
.bar2 {{ fill: #8c959f }}
.bar3 {{ fill: #c4ccd4 }}
@media (prefers-color-scheme: dark) {{
  .text, .heading, .strong {{ fill: #f0f6fc }}
  .value {{ fill: #9198a1 }}
  .strong {{ fill: #f0f6fc }}
  .line {{ stroke: #9198a1 }}
  .bar0 {{ fill: #fb923c }}
  .bar1 {{ fill: #b1bac4 }}
  .bar2 {{ fill: #7d8590 }}
  .bar3 {{ fill: #4b535d }}
}}
</style>
<text class="heading" x="{LEFT}" y="24">Inference speed relative to {BASELINE} (1×), one image; higher is better</text>
{legend}<line class="line" x1="{line:.1}" y1="{}" x2="{line:.1}" y2="{bottom}"/>
{bars}<text class="value" x="{LEFT}" y="{}">{machine}; {date}</text>
</svg>
"#,
        TOP - 6.,
        label + 12.,
        height = label + 22.
    ))
}
