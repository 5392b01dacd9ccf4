"builtin.module"() ({
  "func.func"() <{function_type = (tensor<4x1x3x3xf32>, tensor<1x2x8x8xf32>) -> (tensor<1x4x2x2xf32>), sym_name = "main", sym_visibility = "public"}> ({
  ^bb0(%0: tensor<4x1x3x3xf32> loc("conv.weight"), %1: tensor<1x2x8x8xf32> loc("input")):
    %2 = "stablehlo.convolution"(%1, %0) <{batch_group_count = 1 : i64, feature_group_count = 2 : i64, lhs_dilation = array<i64: 1, 1>, padding = dense<[[1, 1], [1, 1]]> : tensor<2x2xi64>, precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>], rhs_dilation = array<i64: 1, 1>, window_reversal = array<i1: false, false>, window_strides = array<i64: 2, 2>, dimension_numbers = #stablehlo.conv<raw input_batch_dimension = 0, input_feature_dimension = 1, input_spatial_dimensions = [2, 3], kernel_output_feature_dimension = 0, kernel_input_feature_dimension = 1, kernel_spatial_dimensions = [2, 3], output_batch_dimension = 0, output_feature_dimension = 1, output_spatial_dimensions = [2, 3]>}> : (tensor<1x2x8x8xf32>, tensor<4x1x3x3xf32>) -> tensor<1x4x4x4xf32> loc("Images.conv")
    %3 = "stablehlo.constant"() <{value = dense<0.0e0> : tensor<f32>}> : () -> tensor<f32> loc("Images")
    %4 = "stablehlo.broadcast_in_dim"(%3) <{broadcast_dimensions = array<i64>}> : (tensor<f32>) -> tensor<1x4x4x4xf32> loc("Images")
    %5 = "stablehlo.maximum"(%2, %4) : (tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32>) -> tensor<1x4x4x4xf32> loc("Images")
    %6 = "stablehlo.constant"() <{value = dense<0xFF800000> : tensor<f32>}> : () -> tensor<f32> loc("Images")
    %7 = "stablehlo.reduce_window"(%5, %6) <{base_dilations = array<i64: 1, 1, 1, 1>, padding = dense<[[0, 0], [0, 0], [0, 0], [0, 0]]> : tensor<4x2xi64>, window_dilations = array<i64: 1, 1, 1, 1>, window_dimensions = array<i64: 1, 1, 2, 2>, window_strides = array<i64: 1, 1, 2, 2>}> ({^bb0(%a: tensor<f32>, %b: tensor<f32>): %c = "stablehlo.maximum"(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32> "stablehlo.return"(%c) : (tensor<f32>) -> ()}) : (tensor<1x4x4x4xf32>, tensor<f32>) -> tensor<1x4x2x2xf32> loc("Images")
    "func.return"(%7) : (tensor<1x4x2x2xf32>) -> ()
  }) : () -> ()
}) : () -> ()
