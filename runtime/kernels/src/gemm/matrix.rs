//! Matrices in memory.

/// A matrix with contiguous rows, or with contiguous columns if it is transposed.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T = f32> {
    pub values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// The distance from one row to the next, or from one column to the next if the matrix is transposed.
    pub stride: usize,
    /// Whether the columns are contiguous.
    pub transposed: bool,
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// Creates a matrix `[rows, columns]` in row-major order, without gaps between the rows.
    ///
    /// # Panics
    /// Panics if `values` has fewer than `rows · columns` elements.
    pub fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self::with_stride(values, rows, columns, columns)
    }

    /// Creates a matrix `[rows, columns]` whose rows are `stride` elements apart.
    ///
    /// # Panics
    /// Panics if `values` does not contain all rows.
    pub fn with_stride(values: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows * columns == 0 || (rows - 1) * stride + columns <= values.len());
        Self { values, rows, columns, stride, transposed: false }
    }

    /// Returns the transpose, which shares the values.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Returns the distances from one row to the next and from one column to the next.
    pub fn strides(&self) -> [usize; 2] {
        if self.transposed { [1, self.stride] } else { [self.stride, 1] }
    }

    /// Returns the elements `start..end` of a contiguous row, or of a contiguous column if the matrix is transposed.
    pub fn line(&self, index: usize, [start, end]: [usize; 2]) -> &'a [T] {
        &self.values[index * self.stride..][start..end]
    }

    /// Returns the element in a row and a column.
    pub fn at(&self, row: usize, column: usize) -> T {
        let [row_stride, column_stride] = self.strides();
        self.values[row * row_stride + column * column_stride]
    }
}
