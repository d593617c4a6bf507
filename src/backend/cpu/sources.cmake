# The cpu backend: every file but cpu.c is compiled once for each instruction
# set, with CPU_ISA naming the level (isa.h); cpu.c picks one at run time.
set(cpu_dir ${CMAKE_SOURCE_DIR}/src/backend/cpu)
file(GLOB cpu_kernels CONFIGURE_DEPENDS ${cpu_dir}/*.c)
list(REMOVE_ITEM cpu_kernels ${cpu_dir}/cpu.c)

set(cpu_isa_generic "")
set(cpu_isa_avx2 -mavx2 -mfma -mf16c)
set(cpu_isa_avx512 ${cpu_isa_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
set(cpu_isa_avx512bf16 ${cpu_isa_avx512} -mavx512bf16)
set(cpu_isa_amx ${cpu_isa_avx512bf16} -mamx-tile -mamx-bf16)
set(cpu_isa_amx_emulated -DCPU_AMX_EMULATED)

set(cpu_levels generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND cpu_levels avx2 avx512 avx512bf16 amx)
endif()

function(cpu_level level)
  add_library(backend_cpu_${level} OBJECT EXCLUDE_FROM_ALL ${cpu_kernels})
  target_link_libraries(backend_cpu_${level} PRIVATE flags)
  target_compile_definitions(backend_cpu_${level} PRIVATE CPU_ISA=${level})
  target_compile_options(backend_cpu_${level} PRIVATE ${cpu_isa_${level}})
endfunction()

# backend_cpu is the product's; backend_cpu_tests also holds amx_emulated, which
# runs the tile code of the amx level without the hardware and is never chosen
# unless it is named.
function(cpu_library name)
  add_library(${name} STATIC ${cpu_dir}/cpu.c)
  target_link_libraries(${name} PRIVATE flags PUBLIC base nn)
  foreach(level ${ARGN})
    if(NOT TARGET backend_cpu_${level})
      cpu_level(${level})
    endif()
    string(TOUPPER ${level} upper)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:backend_cpu_${level}>)
    target_compile_definitions(${name} PRIVATE CPU_HAS_${upper})
  endforeach()
endfunction()

cpu_library(backend_cpu ${cpu_levels})
cpu_library(backend_cpu_tests ${cpu_levels} amx_emulated)
set_target_properties(backend_cpu_tests PROPERTIES EXCLUDE_FROM_ALL ON)

add_executable(bench_conv EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/conv.c)
target_link_libraries(bench_conv PRIVATE flags backend_cpu)
