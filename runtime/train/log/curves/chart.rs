//! One chart: the axes, the curves and the legend.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Scale, is_drawable};
use super::data::{Chart, Curve, Kind};
use super::figure::FONT;
use crate::train::log::LOSS;

/// The canvas of a chart or a figure.
pub(super) type Canvas<DB> = DrawingArea<DB, Shift>;
/// The result of drawing.
pub(super) type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

const TEXT: RGBColor = RGBColor(38, 38, 38);
const FAINT_TEXT: RGBColor = RGBColor(96, 96, 96);
const GRID: RGBColor = RGBColor(228, 228, 228);
const FRAME: RGBColor = RGBColor(150, 150, 150);
// Colors that color-blind people can tell apart (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const LIGHT_BLUE: RGBColor = RGBColor(150, 198, 228);
const ORANGE: RGBColor = RGBColor(213, 94, 0);

// The sizes of fonts, in pixels.
const FIGURE_TITLE_SIZE: f64 = 17.;
const TITLE_SIZE: f64 = 15.;
const LABEL_SIZE: f64 = 12.;
/// The position of the title of a figure, in pixels.
const FIGURE_TITLE_POSITION: [f64; 2] = [16., 22.];
// The space around the plot, in pixels.
const LEFT: f64 = 58.;
const RIGHT: f64 = 14.;
const TOP: f64 = 32.;
const BOTTOM: f64 = 40.;
/// A curve of at most this many points has a marker at each point.
const MOST_MARKERS: usize = 40;

impl Kind {
    fn color(self) -> RGBColor {
        match self {
            Self::Steps => LIGHT_BLUE,
            Self::Train => BLUE,
            Self::Valid => ORANGE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Steps => "single steps",
            Self::Train => "training",
            Self::Valid => "validation",
        }
    }

    /// The width of the line in pixels.
    fn width(self) -> f64 {
        if self == Self::Steps { 1. } else { 1.75 }
    }
}

/// How pictures of one format, SVG or PNG, are drawn.
#[derive(Clone, Copy)]
pub(super) struct Medium {
    /// The factor by which all sizes are multiplied.
    pub scale: f64,
    /// Draw a curve as one line with joined segments. In bitmaps, each segment is drawn separately, because plotters
    /// draws long spikes at the sharp corners of a joined line.
    pub joins_lines: bool,
    /// How far to move centered text down, as a fraction of its size. In bitmaps, plotters draws it too high.
    pub text_shift: f64,
}

/// A chart on a canvas.
pub(super) struct Plot<'a, DB: DrawingBackend> {
    canvas: &'a Canvas<DB>,
    medium: Medium,
    /// The left, top, right and bottom edges of the plot, in pixels of the canvas.
    edges: [f64; 4],
}

impl<'a, DB: DrawingBackend> Plot<'a, DB> {
    pub fn new(canvas: &'a Canvas<DB>, medium: Medium) -> Self {
        let scale = medium.scale;
        let (width, height) = canvas.dim_in_pixel();
        let right = f64::from(width) - RIGHT * scale;
        let bottom = f64::from(height) - BOTTOM * scale;
        Self { canvas, medium, edges: [LEFT * scale, TOP * scale, right, bottom] }
    }

    /// Draws a chart.
    pub fn draw(&self, chart: &Chart) -> Drawn<DB> {
        let points = || chart.curves.iter().flat_map(Curve::points);
        let scale = if chart.title == LOSS { Scale::Logarithmic } else { Scale::Linear };
        let y = Axis::from_values(points().map(|(_, y)| *y), scale);
        let x =
            Axis::from_values(points().filter(|(_, y)| is_drawable(*y)).map(|(x, _)| *x), Scale::Integers);
        let title = chart.title.replace('_', " ");
        let [left, top, right, bottom] = self.edges;
        let (Some(x), Some(y)) = (x, y) else {
            self.title(&title)?;
            self.frame()?;
            let center = [(left + right) / 2., (top + bottom) / 2.];
            return self.text("no finite values", center, LABEL_SIZE, FAINT_TEXT, HPos::Center);
        };
        self.title(&if y.is_log { format!("{title} (log scale)") } else { title })?;
        self.ticks(&x, &y)?;
        self.frame()?;
        for curve in &chart.curves {
            self.curve(curve, &x, &y)?;
        }
        self.legend(chart)
    }

    fn title(&self, title: &str) -> Drawn<DB> {
        let [left, top, right, bottom] = self.edges;
        self.text(title, [left, top - 14. * self.medium.scale], TITLE_SIZE, TEXT, HPos::Left)?;
        let below = [(left + right) / 2., bottom + 30. * self.medium.scale];
        self.text("optimizer steps", below, LABEL_SIZE, FAINT_TEXT, HPos::Center)
    }

    fn frame(&self) -> Drawn<DB> {
        let [left, top, right, bottom] = self.edges;
        self.line(&[[left, top], [left, bottom], [right, bottom]], FRAME, 1.)
    }

    fn ticks(&self, x: &Axis, y: &Axis) -> Drawn<DB> {
        let [left, top, right, bottom] = self.edges;
        for (position, label) in &y.ticks {
            let [_, row] = self.pixel(0., *position);
            self.line(&[[left, row], [right, row]], GRID, 1.)?;
            self.text(label, [left - 7. * self.medium.scale, row], LABEL_SIZE, FAINT_TEXT, HPos::Right)?;
        }
        for (position, label) in &x.ticks {
            let [column, _] = self.pixel(*position, 0.);
            self.line(&[[column, top], [column, bottom]], GRID, 1.)?;
            let below = [column, bottom + 13. * self.medium.scale];
            self.text(label, below, LABEL_SIZE, FAINT_TEXT, HPos::Center)?;
        }
        Ok(())
    }

    /// Draws a curve, with gaps at the values that cannot be drawn.
    fn curve(&self, curve: &Curve, x: &Axis, y: &Axis) -> Drawn<DB> {
        let pixel = |point: &(f64, f64)| Some(self.pixel(x.position(point.0)?, y.position(point.1)?));
        let pixels: Vec<Option<[f64; 2]>> = curve.points().iter().map(pixel).collect();
        let color = curve.kind.color();
        let width = curve.kind.width();
        for part in pixels.split(Option::is_none) {
            let part: Vec<[f64; 2]> = part.iter().copied().flatten().collect();
            self.line(&part, color, width)?;
            let has_markers = curve.kind != Kind::Steps && pixels.len() <= MOST_MARKERS;
            if has_markers || part.len() == 1 {
                part.iter().try_for_each(|center| self.marker(*center, color))?;
            }
        }
        Ok(())
    }

    /// Draws the names of the curves above the plot, from right to left. Draws no name for a single curve, unless it
    /// shows the validation.
    fn legend(&self, chart: &Chart) -> Drawn<DB> {
        if let [Curve { kind: Kind::Steps | Kind::Train, .. }] = &chart.curves[..] {
            return Ok(());
        }
        let [_, top, mut right, _] = self.edges;
        let row = top - 14. * self.medium.scale;
        for kind in chart.curves.iter().rev().map(|curve| curve.kind) {
            let name = kind.name();
            self.text(name, [right, row], LABEL_SIZE, TEXT, HPos::Right)?;
            let (width, _) = self.canvas.estimate_text_size(name, &self.style(LABEL_SIZE, TEXT))?;
            let end = right - f64::from(width) - 6. * self.medium.scale;
            let start = end - 20. * self.medium.scale;
            self.line(&[[start, row], [end, row]], kind.color(), kind.width() + 0.75)?;
            right = start - 16. * self.medium.scale;
        }
        Ok(())
    }

    /// Returns the pixel at the position `x` of the horizontal axis and the position `y` of the vertical axis.
    fn pixel(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, top, right, bottom] = self.edges;
        [left + x * (right - left), bottom + y * (top - bottom)]
    }

    fn line(&self, points: &[[f64; 2]], color: RGBColor, width: f64) -> Drawn<DB> {
        let points: Vec<(i32, i32)> = points.iter().map(|point| rounded(*point)).collect();
        let style = color.stroke_width((width * self.medium.scale).round().max(1.) as u32);
        let length = if self.medium.joins_lines { points.len().max(2) } else { 2 };
        let parts = points.windows(length).map(|part| PathElement::new(part.to_vec(), style));
        parts.into_iter().try_for_each(|part| self.canvas.draw(&part))
    }

    fn marker(&self, center: [f64; 2], color: RGBColor) -> Drawn<DB> {
        self.canvas.draw(&Circle::new(
            rounded(center),
            (2.5 * self.medium.scale).round() as i32,
            color.filled(),
        ))
    }

    /// Draws text at the point `at`. The text is centered vertically, and `align` aligns it horizontally.
    fn text(&self, text: &str, at: [f64; 2], size: f64, color: RGBColor, align: HPos) -> Drawn<DB> {
        draw_text(
            self.canvas,
            self.medium,
            text,
            at,
            &self.style(size, color).pos(Pos::new(align, VPos::Center)),
        )
    }

    fn style(&self, size: f64, color: RGBColor) -> TextStyle<'static> {
        style(size * self.medium.scale, color)
    }
}

/// Draws the title of a figure.
pub(super) fn figure_title<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    title: &str,
    medium: Medium,
) -> Drawn<DB> {
    let style = style(FIGURE_TITLE_SIZE * medium.scale, TEXT).pos(Pos::new(HPos::Left, VPos::Center));
    draw_text(canvas, medium, title, FIGURE_TITLE_POSITION.map(|pixels| pixels * medium.scale), &style)
}

fn draw_text<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    medium: Medium,
    text: &str,
    [x, y]: [f64; 2],
    style: &TextStyle<'_>,
) -> Drawn<DB> {
    let shift = style.font.get_size() * medium.text_shift;
    canvas.draw_text(text, style, rounded([x, y + shift]))
}

fn style(size: f64, color: RGBColor) -> TextStyle<'static> {
    TextStyle { color: color.to_backend_color(), ..TextStyle::from((FONT, size).into_font()) }
}

fn rounded([x, y]: [f64; 2]) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}
