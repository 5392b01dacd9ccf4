//! Matrices in memory.

/// A matrix of contiguous values, in row-major order unless it is transposed.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// Whether `values` are in column-major order.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    /// Creates a matrix `[rows, columns]` in row-major order.
    ///
    /// # Panics
    /// Panics if `values` has fewer than `rows · columns` elements.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(values.len() >= rows * columns);
        Self { values, rows, columns, transposed: false }
    }

    /// Returns the transpose, which shares the values.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Returns the distances from one row to the next and from one column to the next.
    pub fn strides(&self) -> [usize; 2] {
        if self.transposed { [1, self.rows] } else { [self.columns, 1] }
    }
}
