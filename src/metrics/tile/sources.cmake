# The inner loops of metrics/, compiled once for each level of instructions and chosen at run time
# (levels.c). What a level is, src/backend/cpu/sources.cmake says.
set(tile_dir ${CMAKE_SOURCE_DIR}/src/metrics/tile)
set(tile_generic TILE_BYTES=16 TILE_HEIGHT=4 TILE_VECTORS=2)
set(tile_avx2 TILE_BYTES=32 TILE_HEIGHT=4 TILE_VECTORS=2)
set(tile_avx512 TILE_BYTES=64 TILE_HEIGHT=8 TILE_VECTORS=2)

set(tile_levels generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND tile_levels avx2 avx512)
endif()

# Estimates may fuse a product with an addition; nothing else may.
set_source_files_properties(${tile_dir}/rough.c PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)

target_sources(metrics PRIVATE ${tile_dir}/levels.c)
foreach(level ${tile_levels})
  add_library(metrics_tile_${level} OBJECT EXCLUDE_FROM_ALL ${tile_dir}/exact.c ${tile_dir}/rough.c)
  target_link_libraries(metrics_tile_${level} PRIVATE flags)
  target_compile_definitions(metrics_tile_${level} PRIVATE TILE_ISA=${level} ${tile_${level}})
  target_compile_options(metrics_tile_${level} PRIVATE ${cpu_isa_${level}})
  string(TOUPPER ${level} upper)
  target_sources(metrics PRIVATE $<TARGET_OBJECTS:metrics_tile_${level}>)
  target_compile_definitions(metrics PRIVATE TILE_HAS_${upper})
endforeach()

add_executable(bench_metrics EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/metrics.c)
target_link_libraries(bench_metrics PRIVATE flags metrics base)
