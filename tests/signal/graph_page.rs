//! The drawings of `Network::graph`: the page in a browser, and the DOT file in Graphviz.

use std::path::{Path, PathBuf};
use std::process::Command;

use sconce::Graph;
use sconce::prelude::*;
use serde_json::Value;

#[derive(Module)]
#[module(forward = |x| relu(norm(conv(&x)) + x))]
struct Block {
    #[layer(16, 16, 3, padding = 1, bias = false)]
    conv: Conv2d,
    #[layer(16)]
    norm: BatchNorm2d,
}

/// Has modules in modules, a shared result, launches of several operations, and a parameter as an operand.
#[derive(Module)]
#[module(forward = |x| {
    let x = stem(x);
    let y = x * scale;
    let y = blocks(y);
    let z = gate(&y).relu();
    head((y * sigmoid(z)).mean((-2, -1)))
})]
struct Net {
    #[layer(3, 16, 3, padding = 1)]
    stem: Conv2d,
    #[param((16, 1, 1))]
    scale: Tensor,
    #[layer(; for _ in 0..2)]
    blocks: Vec<Block>,
    #[layer(16, 16, 1)]
    gate: Conv2d,
    #[layer(16, 10)]
    head: Linear,
}

fn graph() -> Result<Graph> {
    let x = Tensor::randn(0f32, 1., (1, 3, 12, 12), &Device::Cpu)?;
    Net::new(&Device::Cpu)?.inference()?.graph(Signal::from(x))
}

/// Returns the first of these programs that is installed. The environment variable `variable` can name another one.
fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&directories).collect();
    let mut candidates =
        names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    candidates.find(|path| path.is_file())
}

/// Opens a page in headless Chromium, and returns what `script` assigns to `result`. Fails if the page logs an error.
/// Returns `None` if Chromium is not installed.
fn browse(page: &str, is_dark: bool, script: &str) -> Result<Option<Value>> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let Some(browser) = program("SCONCE_BROWSER", &names) else {
        println!("skipped: no Chromium found; install it, or set SCONCE_BROWSER to its path");
        return Ok(None);
    };
    let watch = "<head><script>const errors = []; addEventListener('error', (event) => errors.push(event.message)); \
                 console.error = (...texts) => errors.push(texts.join(' '));</script>";
    let finish = "document.body.dataset.result = JSON.stringify({ result, errors });";
    let page = page.replacen("<head>", watch, 1);
    let page = page.replace(
        "</body>",
        &format!("<script>(() => {{ let result;\n{script}\n{finish} }})();</script></body>"),
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("page.html");
    std::fs::write(&file, page)?;
    let dom = run_browser(&browser, directory.path(), &file, is_dark)?;
    let (_, rest) =
        dom.split_once("data-result=\"").unwrap_or_else(|| panic!("the script has no result: {dom}"));
    let json = rest.split('"').next().unwrap_or_default();
    let json = json.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let mut value: Value = serde_json::from_str(&json).map_err(Error::msg)?;
    assert_eq!(value["errors"], Value::Array(Vec::new()));
    Ok(Some(value["result"].take()))
}

/// Returns the document of a page after its scripts have run.
fn run_browser(browser: &Path, directory: &Path, page: &Path, is_dark: bool) -> Result<String> {
    let scheme = if is_dark { 0 } else { 1 };
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,800", "--dump-dom"])
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("file://{}", page.display()))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).map_err(Error::msg)
}

#[test]
fn the_page_needs_no_other_file() -> Result<()> {
    let page = graph()?.to_html();
    let addresses: Vec<&str> =
        page.split("http").skip(1).map(|rest| rest.split('\'').next().unwrap_or("")).collect();
    // The name of a namespace is no address that a browser opens.
    assert_eq!(addresses, ["://www.w3.org/2000/svg"]);
    Ok(())
}

/// Returns the nodes, with their positions, and the modules.
const DESCRIBE: &str = r"
const box = (element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  return { left, top, right, bottom };
};
const moduleBox = (module) => (module ? box(module.querySelector(':scope > rect')) : null);
const describe = () => ({
  nodes: [...document.querySelectorAll('.node')].map((node) => ({
    index: Number(node.dataset.node),
    box: box(node.querySelector('rect')),
    module: moduleBox(node.parentElement.closest('.module')),
    fill: getComputedStyle(node.querySelector('rect')).fill,
    dashed: getComputedStyle(node.querySelector('rect')).strokeDasharray !== 'none',
    tooltip: node.querySelector('title').textContent,
    lines: [...node.querySelectorAll('text')].map((text) => text.textContent),
  })),
  modules: [...document.querySelectorAll('.module')].map((module) => ({
    label: module.querySelector(':scope > .title').getAttribute('aria-label'),
    isOpen: module.querySelector(':scope > .title').getAttribute('aria-expanded') === 'true',
    texts: [...module.querySelectorAll(':scope > .title text')].map((text) => text.textContent),
  })),
  arrows: document.querySelectorAll('.arrow').length,
  height: document.querySelector('svg').getBoundingClientRect().height,
});
";

fn side(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("expected a number for {name} in {value}"))
}

fn is_inside(inner: &Value, outer: &Value) -> bool {
    side(inner, "left") >= side(outer, "left")
        && side(inner, "top") >= side(outer, "top")
        && side(inner, "right") <= side(outer, "right")
        && side(inner, "bottom") <= side(outer, "bottom")
}

fn overlaps(a: &Value, b: &Value) -> bool {
    let along = |low: &str, high: &str| side(a, low) < side(b, high) && side(b, low) < side(a, high);
    along("left", "right") && along("top", "bottom")
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("expected an array, found {value}"))
}

#[test]
fn the_page_draws_every_node_with_its_launch() -> Result<()> {
    let graph = graph()?;
    let Some(page) = browse(&graph.to_html(), false, &format!("{DESCRIBE} result = describe();"))? else {
        return Ok(());
    };
    let nodes = array(&page["nodes"]);
    assert_eq!(nodes.len(), graph.nodes.len());
    for (i, a) in nodes.iter().enumerate() {
        assert!(nodes[..i].iter().all(|b| !overlaps(&a["box"], &b["box"])), "{a}");
        assert!(a["module"].is_null() || is_inside(&a["box"], &a["module"]), "{a}");
        let node = &graph.nodes[a["index"].as_u64().map_or(usize::MAX, |index| index as usize)];
        let lines: Vec<&str> = array(&a["lines"]).iter().filter_map(Value::as_str).collect();
        assert_eq!(lines[0], node.operation);
        let tooltip = a["tooltip"].as_str().unwrap_or_default();
        assert!(tooltip.contains(&node.path), "{tooltip}");
        if let Some(reason) = &node.not_fused {
            assert!(tooltip.contains(&format!("not fused: {reason}")), "{tooltip}");
        }
        let is_outside = ["input", "output", "parameter"].contains(&lines[0]);
        assert_eq!(a["dashed"], node.not_fused.is_some() || is_outside, "{a}");
    }
    // The launches of several operations have one color each.
    let fill = |node: usize| nodes.iter().find(|drawn| drawn["index"] == node).map(|drawn| &drawn["fill"]);
    let groups: Vec<_> = graph.launches.iter().filter(|launch| launch.nodes.len() > 1).collect();
    assert_eq!(groups.len(), 3);
    for (i, launch) in groups.iter().enumerate() {
        let color = fill(launch.nodes[0]);
        assert!(launch.nodes.iter().all(|&node| fill(node) == color));
        assert!(groups[..i].iter().all(|other| fill(other.nodes[0]) != color));
    }
    // Each value that an operation reads ends with an arrow.
    assert_eq!(page["arrows"], graph.edges.len());
    Ok(())
}

#[test]
fn modules_fold_and_unfold() -> Result<()> {
    let graph = graph()?;
    let script = format!(
        "{DESCRIBE}
        const title = (label) => [...document.querySelectorAll('.title')]
          .find((title) => title.getAttribute('aria-label') === label);
        const click = (label) => title(label).dispatchEvent(new MouseEvent('click', {{ bubbles: true }}));
        const open = describe();
        click('0 (Block)');
        const folded = describe();
        title('0 (Block)').dispatchEvent(new KeyboardEvent('keydown', {{ key: 'Enter', bubbles: true }}));
        const unfolded = describe();
        document.getElementById('fold').click();
        const none = describe();
        document.getElementById('unfold').click();
        result = {{ open, folded, unfolded, none, all: describe() }};"
    );
    let Some(page) = browse(&graph.to_html(), true, &script)? else { return Ok(()) };
    let count = |state: &str| array(&page[state]["nodes"]).len();
    let labels = |state: &str| -> Vec<(String, bool)> {
        let modules = array(&page[state]["modules"]).iter();
        let label = |module: &Value| module["label"].as_str().unwrap_or_default().to_string();
        modules.map(|module| (label(module), module["isOpen"] == true)).collect()
    };
    let expected = |is_open: [bool; 3]| -> Vec<(String, bool)> {
        let names = ["blocks (Sequential)", "0 (Block)", "1 (Block)"].map(str::to_string);
        names.into_iter().zip(is_open).collect()
    };
    assert_eq!((labels("open"), count("open")), (expected([true; 3]), graph.nodes.len()));
    // The block has a convolution, a batch norm, an addition and a ReLU.
    assert_eq!((labels("folded"), count("folded")), (expected([true, false, true]), graph.nodes.len() - 4));
    assert_eq!(page["folded"]["modules"][1]["texts"], serde_json::json!(["▸ 0 (Block)", "4 operations"]));
    assert!(side(&page["folded"], "height") < side(&page["open"], "height") - 100.);
    // Folding does not change the rest.
    assert_eq!(page["unfolded"], page["open"]);
    assert_eq!(page["all"], page["open"]);
    assert_eq!(labels("none"), [("blocks (Sequential)".to_string(), false)]);
    assert_eq!(count("none"), graph.nodes.len() - 8);
    Ok(())
}

#[test]
fn the_colors_follow_the_mode_of_the_browser() -> Result<()> {
    let page = graph()?.to_html();
    let script = "result = getComputedStyle(document.body).backgroundColor;";
    for (is_dark, expected) in [(false, "rgb(255, 255, 255)"), (true, "rgb(13, 17, 23)")] {
        let Some(color) = browse(&page, is_dark, script)? else { return Ok(()) };
        assert_eq!(color, expected);
    }
    Ok(())
}

#[test]
fn the_drawing_can_be_saved_as_a_file() -> Result<()> {
    let graph = graph()?;
    let script = "
        const file = new DOMParser().parseFromString(standaloneSvg(), 'image/svg+xml');
        result = { root: file.documentElement.nodeName, nodes: file.querySelectorAll('.node').length };";
    let Some(file) = browse(&graph.to_html(), false, script)? else { return Ok(()) };
    // A file that is not well-formed has a root for the error.
    assert_eq!(file, serde_json::json!({ "root": "svg", "nodes": graph.nodes.len() }));
    Ok(())
}

/// Graphviz reads the file, and draws all nodes, edges and modules.
#[test]
fn graphviz_draws_the_graph() -> Result<()> {
    let Some(dot) = program("SCONCE_DOT", &["dot"]) else {
        println!("skipped: no Graphviz found; install it, or set SCONCE_DOT to the path of its program dot");
        return Ok(());
    };
    let graph = graph()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("net.dot");
    std::fs::write(&file, graph.to_dot())?;
    let output = Command::new(dot).arg("-Tjson").arg(&file).output()?;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let drawn: Value = serde_json::from_slice(&output.stdout).map_err(Error::msg)?;
    let (clusters, nodes): (Vec<&Value>, Vec<&Value>) = array(&drawn["objects"])
        .iter()
        .partition(|object| object["nodes"].is_array() || object["subgraphs"].is_array());
    let labels: Vec<_> =
        clusters.iter().map(|cluster| cluster["label"].as_str().unwrap_or_default()).collect();
    assert_eq!(labels, ["blocks (Sequential)", "0 (Block)", "1 (Block)"]);
    assert_eq!(nodes.len(), graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let drawn = nodes.iter().find(|drawn| drawn["name"] == format!("n{index}"));
        let label = drawn.and_then(|drawn| drawn["label"].as_str()).unwrap_or_default();
        assert_eq!(label.split("\\n").next(), Some(node.operation.as_str()));
    }
    let name = |id: &Value| array(&drawn["objects"])[id.as_u64().unwrap_or(0) as usize]["name"].clone();
    let mut edges: Vec<_> =
        array(&drawn["edges"]).iter().map(|edge| (name(&edge["tail"]), name(&edge["head"]))).collect();
    let mut expected: Vec<(Value, Value)> = graph
        .edges
        .iter()
        .map(|edge| (format!("n{}", edge.from).into(), format!("n{}", edge.to).into()))
        .collect();
    edges.sort_by_key(|edge| format!("{edge:?}"));
    expected.sort_by_key(|edge| format!("{edge:?}"));
    assert_eq!(edges, expected);
    Ok(())
}
