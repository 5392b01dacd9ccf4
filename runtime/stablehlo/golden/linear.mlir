"builtin.module"() ({
  "func.func"() <{function_type = (tensor<2x3xf32>, tensor<2xf32>, tensor<4x3xf32>) -> (tensor<4x2xf32>), sym_name = "main", sym_visibility = "public"}> ({
  ^bb0(%0: tensor<2x3xf32> loc("0.weight"), %1: tensor<2xf32> loc("0.bias"), %2: tensor<4x3xf32> loc("input")):
    %3 = "stablehlo.dot_general"(%2, %0) <{precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>], dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = [], rhs_batching_dimensions = [], lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [1]>}> : (tensor<4x3xf32>, tensor<2x3xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    %4 = "stablehlo.broadcast_in_dim"(%1) <{broadcast_dimensions = array<i64: 1>}> : (tensor<2xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    %5 = "stablehlo.add"(%3, %4) : (tensor<4x2xf32>, tensor<4x2xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    "func.return"(%5) : (tensor<4x2xf32>) -> ()
  }) : () -> ()
}) : () -> ()
