# Limits the engine to one CPU module, for the processor that builds it: with CMAKE_PROJECT_ggml_INCLUDE naming
# this file, CMake runs it at `project("ggml")`, and what it sets goes before what the engine's crate passes.
# Only for a target folder of its own: one that is configured keeps its modules, whatever the environment says.
#
# On processors other than x86-64, and with Microsoft's compiler, all modules are built.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND NOT MSVC)
    execute_process(
        COMMAND ${CMAKE_CXX_COMPILER} -march=native -dM -E -x c++ -
        INPUT_FILE /dev/null
        OUTPUT_VARIABLE macros
        COMMAND_ERROR_IS_FATAL ANY
    )
    set(GGML_CPU_ALL_VARIANTS OFF)
    # ggml's switches, and the macro by which the compiler says that the processor has the instructions. AVX512 of
    # ggml is all that AVX-512 has had since it came to servers, VL among it.
    foreach(pair SSE42=SSE4_2 AVX=AVX F16C=F16C FMA=FMA AVX2=AVX2 BMI2=BMI2 AVX_VNNI=AVXVNNI AVX512=AVX512VL
                 AVX512_VBMI=AVX512VBMI AVX512_VNNI=AVX512VNNI AVX512_BF16=AVX512BF16)
        string(REPLACE "=" ";" pair ${pair})
        list(GET pair 0 switch)
        list(GET pair 1 macro)
        string(FIND "${macros}" "#define __${macro}__ 1" found)
        if(found EQUAL -1)
            set(GGML_${switch} OFF)
        else()
            set(GGML_${switch} ON)
        endif()
    endforeach()
endif()
