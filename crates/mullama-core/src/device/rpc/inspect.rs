//! Validates requests before the engine sees them. The engine trusts its input: it aborts on invalid types and sizes,
//! and follows pointers.
//!
//! A connection's buffers are known from the engine's answers. Requests that refer to any other buffer are rejected.

use std::collections::HashMap;

use mullama_gguf::TensorType;
use mullama_sys as sys;

use super::protocol::{
    Command, Length, SET_TENSOR_HEADER_BYTES, SOURCES, TENSOR_BYTES, u32_at, u64_at,
};

/// The reason why a request is rejected.
pub type Refusal = String;

/// Maximum size of a graph in bytes, enough for about a hundred thousand tensors. (Large models have about ten
/// thousand.)
const MAX_GRAPH_BYTES: u64 = 32 << 20;

/// Maximum depth of the tensors below a node that were not visited for an earlier node, since the engine visits them
/// recursively.
const MAX_GRAPH_DEPTH: usize = 1 << 12;

/// Maximum number of buffers of a connection.
const MAX_BUFFERS: usize = 1 << 14;

/// Byte offsets of the fields of a tensor description (`rpc_tensor`).
mod place {
    pub const ID: usize = 0;
    pub const TYPE: usize = 8;
    pub const BUFFER: usize = 12;
    pub const LENGTHS: usize = 20;
    pub const STRIDES: usize = 36;
    pub const OPERATION: usize = 52;
    pub const PARAMETERS: usize = 56;
    pub const SOURCES: usize = 124;
    pub const VIEW_SOURCE: usize = 204;
    pub const DATA: usize = 220;
}

const DIMENSIONS: usize = 4;

/// A buffer of the engine.
#[derive(Debug, Clone, Copy)]
struct Buffer {
    base: u64,
    size: u64,
    device: u32,
}

/// Validates the requests of one connection.
pub struct Inspector {
    /// Total memory of each device in bytes; 0 if unknown.
    totals: Vec<u64>,
    buffers: HashMap<u64, Buffer>,
    /// Whether each device has computed a graph, which can be computed again.
    have_graph: Vec<bool>,
}

impl Inspector {
    pub fn new(totals: Vec<u64>) -> Self {
        let have_graph = vec![false; totals.len()];
        Self { totals, buffers: HashMap::new(), have_graph }
    }

    /// Checks the length of a request's payload.
    pub fn check_length(&self, command: Command, length: u64) -> Result<(), Refusal> {
        let right = match command.payload_length() {
            Length::Exactly(expected) => length == expected as u64,
            Length::AtLeast(least) => {
                let most = match command {
                    Command::GraphCompute => MAX_GRAPH_BYTES,
                    _ => self.buffers.values().map(|buffer| buffer.size).max().unwrap_or(0),
                };
                (least as u64..=most.saturating_add(least as u64)).contains(&length)
            }
        };
        if right { Ok(()) } else { Err(format!("{command:?} cannot carry {length} bytes")) }
    }

    /// Validates a request with a payload of `length` bytes. `carried` contains the payload, for `SetTensor` without
    /// the data. References to buffers of other workers are cleared.
    pub fn check(
        &mut self,
        command: Command,
        carried: &mut [u8],
        length: u64,
    ) -> Result<(), Refusal> {
        match command {
            Command::Hello => Err("it greets twice".to_owned()),
            Command::DeviceCount => Ok(()),
            Command::GetAlignment | Command::GetMaxSize | Command::GetDeviceMemory => {
                self.device(u32_at(carried, 0)).map(drop)
            }
            Command::AllocBuffer => self.check_room(u32_at(carried, 0), u64_at(carried, 4)),
            Command::BufferGetBase | Command::BufferClear => {
                self.buffer(u64_at(carried, 0)).map(drop)
            }
            Command::FreeBuffer => {
                let buffer = u64_at(carried, 0);
                self.buffer(buffer)?;
                self.buffers.remove(&buffer);
                // The graphs may use this buffer.
                self.have_graph.fill(false);
                Ok(())
            }
            Command::SetTensor => {
                let offset = u64_at(carried, TENSOR_BYTES + 1);
                self.check_part(
                    &carried[..TENSOR_BYTES],
                    offset,
                    length - SET_TENSOR_HEADER_BYTES as u64,
                )
            }
            Command::GetTensor | Command::MemsetTensor => {
                let (offset, size) =
                    (u64_at(carried, TENSOR_BYTES), u64_at(carried, TENSOR_BYTES + 8));
                self.check_part(&carried[..TENSOR_BYTES], offset, size)
            }
            Command::SetTensorHash => {
                self.check_part(&carried[..TENSOR_BYTES], u64_at(carried, TENSOR_BYTES), 0)
            }
            Command::InitTensor => self.tensor(carried)?.in_buffer().map(drop),
            Command::CopyTensor => {
                let (source, target) = carried.split_at(TENSOR_BYTES);
                let (_, source) = self.tensor(source)?.in_buffer()?;
                let (buffer, target) = self.tensor(target)?.in_buffer()?;
                // The engine writes as many bytes as the source has.
                let room = buffer.base + buffer.size - target.data;
                if source.size > room || source.size > target.size {
                    return Err("a tensor is copied to a smaller one".to_owned());
                }
                Ok(())
            }
            Command::GetAllocSize => {
                self.device(u32_at(carried, 0))?;
                let (tensor, sources) = carried[4..].split_at_mut(TENSOR_BYTES);
                self.clear_foreign_buffer(tensor);
                self.tensor(tensor)?;
                let needed = check_sources(tensor)?;
                for (index, source) in sources.chunks_exact_mut(TENSOR_BYTES).enumerate() {
                    // The engine ignores sources without an id.
                    if u64_at(source, place::ID) != 0 {
                        self.clear_foreign_buffer(source);
                        self.tensor(source)?;
                    } else if index < needed {
                        return Err(format!("source {index} of a tensor is missing"));
                    }
                }
                Ok(())
            }
            Command::GraphCompute => {
                let device = self.device(u32_at(carried, 0))?;
                self.check_graph(carried)?;
                self.have_graph[device] = true;
                Ok(())
            }
            Command::GraphRecompute => {
                let device = self.device(u32_at(carried, 0))?;
                let known = self.have_graph[device];
                if known { Ok(()) } else { Err("there is no graph to compute again".to_owned()) }
            }
        }
    }

    /// Registers a buffer that the engine created for a request. Fails if its address range is invalid.
    pub fn register_buffer(
        &mut self,
        request: &[u8],
        handle: u64,
        base: u64,
        size: u64,
    ) -> Result<(), Refusal> {
        if base.checked_add(size).is_none() {
            return Err("the engine gave a buffer that cannot be".to_owned());
        }
        let device = u32_at(request, 0);
        self.buffers.insert(handle, Buffer { base, size, device });
        Ok(())
    }

    fn device(&self, index: u32) -> Result<usize, Refusal> {
        let known = (index as usize) < self.totals.len();
        if known { Ok(index as usize) } else { Err(format!("there is no device {index}")) }
    }

    fn buffer(&self, handle: u64) -> Result<&Buffer, Refusal> {
        self.buffers.get(&handle).ok_or_else(|| format!("there is no buffer {handle:#x}"))
    }

    /// Checks that a device can be large enough for another buffer. Memory used by others is left to the engine to
    /// check.
    fn check_room(&self, device: u32, size: u64) -> Result<(), Refusal> {
        let total = self.totals[self.device(device)?];
        let own = self.buffers.values().filter(|buffer| buffer.device == device);
        let taken = own.fold(size, |sum, buffer| sum.saturating_add(buffer.size));
        if self.buffers.len() >= MAX_BUFFERS {
            return Err(format!("it has {MAX_BUFFERS} buffers and wants more"));
        }
        if total > 0 && taken > total {
            return Err(format!("it wants {taken} bytes of device {device}, which has {total}"));
        }
        Ok(())
    }

    /// Clears a reference to a buffer that is not known on this connection. If a model uses several workers, requests
    /// about the tensors of one may also refer to buffers of others.
    fn clear_foreign_buffer(&self, tensor: &mut [u8]) {
        if !self.buffers.contains_key(&u64_at(tensor, place::BUFFER)) {
            tensor[place::BUFFER..place::BUFFER + 8].fill(0);
            tensor[place::DATA..place::DATA + 8].fill(0);
        }
    }

    /// Parses and validates a tensor description.
    fn tensor(&self, described: &[u8]) -> Result<Tensor<'_>, Refusal> {
        let number = u32_at(described, place::TYPE);
        let kind = TensorType::from_number(number)
            .ok_or_else(|| format!("there is no type {number} of tensors"))?;
        let dimension = |place: usize| {
            let mut numbers = [0_u64; DIMENSIONS];
            for (index, number) in numbers.iter_mut().enumerate() {
                *number = u64::from(u32_at(described, place + 4 * index));
            }
            numbers
        };
        let (lengths, strides) = (dimension(place::LENGTHS), dimension(place::STRIDES));
        let (block, block_size) = (kind.block_length(), kind.block_size());
        let cannot_be = || format!("a tensor of type {} cannot be {lengths:?} long", kind.name());
        if lengths[0] % block != 0 {
            return Err(cannot_be());
        }
        // The engine's check multiplies the other lengths even if one is 0.
        let count =
            lengths.iter().try_fold(1_u64, |count, length| count.checked_mul((*length).max(1)));
        if count.is_none_or(|count| count > i64::MAX as u64 / block_size) {
            return Err(cannot_be());
        }
        let size = if lengths.contains(&0) {
            0
        } else {
            let [lengths, strides] = [lengths, strides].map(|numbers| numbers.map(u128::from));
            let (block, block_size) = (u128::from(block), u128::from(block_size));
            let steps = |dimension: usize| (lengths[dimension] - 1) * strides[dimension];
            let rest: u128 = (1..DIMENSIONS).map(steps).sum();
            // The larger of the engine's own sum and the size including the last block of a row.
            let row = lengths[0] * strides[0] / block;
            let last = (lengths[0] / block - 1) * strides[0] + block_size;
            let size = rest + if block == 1 { last } else { row.max(last) };
            u64::try_from(size).map_err(|_| cannot_be())?
        };
        let operation = u32_at(described, place::OPERATION);
        if i64::from(operation) >= i64::from(sys::GGML_OP_COUNT) {
            return Err(format!("there is no operation {operation}"));
        }
        let (handle, data) = (u64_at(described, place::BUFFER), u64_at(described, place::DATA));
        let buffer = if handle == 0 { None } else { Some(self.buffer(handle)?) };
        let is_inside = match buffer {
            None => data == 0,
            Some(buffer) => data
                .checked_add(size)
                .is_some_and(|end| data >= buffer.base && end <= buffer.base + buffer.size),
        };
        if !is_inside {
            return Err(format!("a tensor of {size} bytes at {data:#x} is not in its buffer"));
        }
        Ok(Tensor { buffer, data, size })
    }

    /// Checks that a tensor has a buffer and that a range of bytes is inside the tensor.
    fn check_part(&self, described: &[u8], offset: u64, size: u64) -> Result<(), Refusal> {
        let (_, tensor) = self.tensor(described)?.in_buffer()?;
        if offset.checked_add(size).is_none_or(|end| end > tensor.size) {
            let whole = tensor.size;
            return Err(format!("a tensor of {whole} bytes has no {size} bytes at {offset}"));
        }
        Ok(())
    }

    /// Validates a graph: device and number of nodes (4 bytes each), the ids of the nodes (8 each), number of tensors
    /// (4), and the tensors.
    fn check_graph(&self, carried: &[u8]) -> Result<(), Refusal> {
        let wrong = || "a graph is of another length than it says".to_owned();
        let n_nodes = u32_at(carried, 4) as usize;
        let nodes = carried.get(8..8 + 8 * n_nodes).ok_or_else(wrong)?;
        let rest = &carried[8 + 8 * n_nodes..];
        let (count, tensors) = rest.split_at_checked(4).ok_or_else(wrong)?;
        let n_tensors = u32_at(count, 0) as usize;
        if tensors.len() != n_tensors * TENSOR_BYTES {
            return Err(wrong());
        }
        if n_nodes == 0 {
            return Err("a graph has no nodes".to_owned());
        }
        let mut graph = HashMap::with_capacity(n_tensors);
        for tensor in tensors.chunks_exact(TENSOR_BYTES) {
            let name = u64_at(tensor, place::ID);
            if name == 0 || graph.insert(name, (tensor, VisitState::Not)).is_some() {
                return Err(format!("a graph has several tensors {name:#x}"));
            }
            self.tensor(tensor)?;
        }
        let mut seen = std::collections::HashSet::with_capacity(n_nodes);
        for node in nodes.chunks_exact(8) {
            let name = u64_at(node, 0);
            if !seen.insert(name) {
                return Err(format!("a graph has several nodes {name:#x}"));
            }
            visit_sources(name, &mut graph)?;
            self.check_node(graph[&name].0, &graph)?;
        }
        Ok(())
    }

    /// Checks that a node and its sources have buffers.
    fn check_node(
        &self,
        node: &[u8],
        graph: &HashMap<u64, (&[u8], VisitState)>,
    ) -> Result<(), Refusal> {
        let needed = check_sources(node)?;
        let own = self.tensor(node)?;
        // Nothing is accessed if a tensor is empty or the operation computes nothing.
        if own.size == 0 || is_view_operation(u32_at(node, place::OPERATION)) {
            return Ok(());
        }
        own.in_buffer()?;
        for index in 0..needed {
            let name = u64_at(node, place::SOURCES + 8 * index);
            let source = self.tensor(graph[&name].0)?;
            if source.size > 0 {
                source.in_buffer()?;
            }
        }
        Ok(())
    }
}

/// The location of a tensor.
struct Tensor<'a> {
    buffer: Option<&'a Buffer>,
    data: u64,
    size: u64,
}

impl<'a> Tensor<'a> {
    fn in_buffer(self) -> Result<(&'a Buffer, Self), Refusal> {
        let buffer = self.buffer.ok_or_else(|| "a tensor is in no buffer".to_owned())?;
        Ok((buffer, self))
    }
}

/// The state of a tensor during the traversal of a graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VisitState {
    Not,
    UnderWay,
    Done,
}

/// Visits all sources of a tensor like the engine does. Fails if one is missing, if there is a cycle, or if the graph
/// is too deep.
fn visit_sources(name: u64, graph: &mut HashMap<u64, (&[u8], VisitState)>) -> Result<(), Refusal> {
    /// Number of references: the sources, and the tensor of which it is a view.
    const MAX_LINKS: usize = SOURCES + 1;
    let missing = |name: u64| format!("a graph has no tensor {name:#x}");
    // Tensors on the current path, with the number of references followed.
    let mut way = vec![(name, 0)];
    while let Some((name, followed)) = way.last_mut() {
        let (tensor, visit) = graph.get_mut(name).ok_or_else(|| missing(*name))?;
        if *followed == 0 {
            match visit {
                VisitState::Done => {
                    way.pop();
                    continue;
                }
                VisitState::UnderWay => return Err("a graph goes round in a circle".to_owned()),
                VisitState::Not => *visit = VisitState::UnderWay,
            }
        }
        if *followed == MAX_LINKS {
            *visit = VisitState::Done;
            way.pop();
            continue;
        }
        let at =
            if *followed < SOURCES { place::SOURCES + 8 * *followed } else { place::VIEW_SOURCE };
        *followed += 1;
        let next = u64_at(tensor, at);
        if next != 0 {
            way.push((next, 0));
        }
        if way.len() > MAX_GRAPH_DEPTH {
            return Err("a graph is too deep".to_owned());
        }
    }
    Ok(())
}

/// Whether an operation only changes the shape of its source.
fn is_view_operation(operation: u32) -> bool {
    [
        sys::GGML_OP_NONE,
        sys::GGML_OP_RESHAPE,
        sys::GGML_OP_VIEW,
        sys::GGML_OP_PERMUTE,
        sys::GGML_OP_TRANSPOSE,
    ]
    .contains(&(operation as sys::ggml_op))
}

/// Checks that a tensor has the sources that its operation requires, and returns their number.
fn check_sources(tensor: &[u8]) -> Result<usize, Refusal> {
    let operation = u32_at(tensor, place::OPERATION);
    let needed = needed_sources(operation as sys::ggml_op)
        .ok_or_else(|| format!("operation {operation} calls functions of a program"))?;
    let variants = match operation as sys::ggml_op {
        sys::GGML_OP_UNARY => Some(i64::from(sys::GGML_UNARY_OP_COUNT)),
        sys::GGML_OP_GLU => Some(i64::from(sys::GGML_GLU_OP_COUNT)),
        _ => None,
    };
    let variant = u32_at(tensor, place::PARAMETERS);
    if variants.is_some_and(|variants| i64::from(variant) >= variants) {
        return Err(format!("operation {operation} has no variant {variant}"));
    }
    let given = (0..needed).filter(|index| u64_at(tensor, place::SOURCES + 8 * index) != 0).count();
    if given < needed {
        return Err(format!("operation {operation} has {given} sources, and needs {needed}"));
    }
    Ok(needed)
}

/// Number of sources of an operation that the engine accesses without checking that they exist. None for operations
/// that call a function by its address.
fn needed_sources(operation: sys::ggml_op) -> Option<usize> {
    Some(match operation {
        sys::GGML_OP_MAP_CUSTOM1
        | sys::GGML_OP_MAP_CUSTOM2
        | sys::GGML_OP_MAP_CUSTOM3
        | sys::GGML_OP_CUSTOM => return None,
        sys::GGML_OP_NONE | sys::GGML_OP_ARANGE => 0,
        sys::GGML_OP_ADD
        | sys::GGML_OP_ADD1
        | sys::GGML_OP_ACC
        | sys::GGML_OP_SUB
        | sys::GGML_OP_MUL
        | sys::GGML_OP_DIV
        | sys::GGML_OP_COUNT_EQUAL
        | sys::GGML_OP_CONCAT
        | sys::GGML_OP_SILU_BACK
        | sys::GGML_OP_RMS_NORM_BACK
        | sys::GGML_OP_MUL_MAT
        | sys::GGML_OP_OUT_PROD
        | sys::GGML_OP_SET
        | sys::GGML_OP_GET_ROWS
        | sys::GGML_OP_GET_ROWS_BACK
        | sys::GGML_OP_SET_ROWS
        | sys::GGML_OP_SOFT_MAX_BACK
        | sys::GGML_OP_ROPE
        | sys::GGML_OP_ROPE_BACK
        | sys::GGML_OP_CONV_TRANSPOSE_1D
        | sys::GGML_OP_IM2COL
        | sys::GGML_OP_IM2COL_BACK
        | sys::GGML_OP_IM2COL_3D
        | sys::GGML_OP_CONV_2D
        | sys::GGML_OP_CONV_3D
        | sys::GGML_OP_CONV_2D_DW
        | sys::GGML_OP_CONV_TRANSPOSE_2D
        | sys::GGML_OP_POOL_2D_BACK
        | sys::GGML_OP_SSM_CONV
        | sys::GGML_OP_SOLVE_TRI
        | sys::GGML_OP_CROSS_ENTROPY_LOSS => 2,
        sys::GGML_OP_ADD_ID
        | sys::GGML_OP_MUL_MAT_ID
        | sys::GGML_OP_FLASH_ATTN_EXT
        | sys::GGML_OP_ADD_REL_POS
        | sys::GGML_OP_LIGHTNING_INDEXER
        | sys::GGML_OP_DSV4_HC_COMB
        | sys::GGML_OP_DSV4_HC_POST
        | sys::GGML_OP_CROSS_ENTROPY_LOSS_BACK
        | sys::GGML_OP_OPT_STEP_SGD => 3,
        sys::GGML_OP_FLASH_ATTN_BACK => 4,
        sys::GGML_OP_GATED_LINEAR_ATTN | sys::GGML_OP_OPT_STEP_ADAMW => 5,
        sys::GGML_OP_RWKV_WKV6 | sys::GGML_OP_GATED_DELTA_NET => 6,
        sys::GGML_OP_SSM_SCAN | sys::GGML_OP_RWKV_WKV7 => 7,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: u64 = 0x7000;
    const BASE: u64 = 0x10_0000;
    const SIZE: u64 = 4096;
    const F32: u32 = 0;
    const Q4_0: u32 = 2;

    /// An inspector for a worker with two devices, with one registered buffer.
    fn inspector() -> Inspector {
        let mut inspector = Inspector::new(vec![1 << 20, 0]);
        let request = alloc(0, SIZE);
        inspector.check(Command::AllocBuffer, &mut request.clone(), 12).unwrap();
        inspector.register_buffer(&request, HANDLE, BASE, SIZE).unwrap();
        inspector
    }

    fn alloc(device: u32, size: u64) -> Vec<u8> {
        [&device.to_le_bytes()[..], &size.to_le_bytes()].concat()
    }

    /// A valid tensor: 8 x 4 values of 4 bytes at the start of the buffer.
    #[derive(Clone)]
    struct Described(Vec<u8>);

    impl Described {
        fn new(name: u64) -> Self {
            let mut tensor = Self(vec![0; TENSOR_BYTES]);
            tensor.set(place::ID, name).set(place::BUFFER, HANDLE).set(place::DATA, BASE);
            tensor.shape(F32, [8, 4, 1, 1], [4, 32, 128, 128]);
            tensor
        }

        fn set(&mut self, place: usize, number: u64) -> &mut Self {
            self.0[place..place + 8].copy_from_slice(&number.to_le_bytes());
            self
        }

        fn set_short(&mut self, place: usize, number: u32) -> &mut Self {
            self.0[place..place + 4].copy_from_slice(&number.to_le_bytes());
            self
        }

        fn shape(&mut self, kind: u32, lengths: [u32; 4], strides: [u32; 4]) -> &mut Self {
            self.set_short(place::TYPE, kind);
            for index in 0..4 {
                self.set_short(place::LENGTHS + 4 * index, lengths[index]);
                self.set_short(place::STRIDES + 4 * index, strides[index]);
            }
            self
        }

        /// A tensor that is computed from others.
        fn computed(name: u64, operation: sys::ggml_op, sources: &[u64]) -> Self {
            let mut tensor = Self::new(name);
            tensor.0[place::OPERATION..][..4].copy_from_slice(&operation.to_le_bytes());
            for (index, source) in sources.iter().enumerate() {
                tensor.set(place::SOURCES + 8 * index, *source);
            }
            tensor
        }
    }

    fn check(
        inspector: &mut Inspector,
        command: Command,
        mut carried: Vec<u8>,
    ) -> Result<(), Refusal> {
        let length = carried.len() as u64;
        inspector.check_length(command, length)?;
        inspector.check(command, &mut carried, length)
    }

    #[track_caller]
    fn assert_refused(inspector: &mut Inspector, command: Command, carried: Vec<u8>, why: &str) {
        let refusal = check(inspector, command, carried).expect_err(why);
        assert!(refusal.contains(why), "{why}: {refusal}");
    }

    fn graph(nodes: &[u64], tensors: &[Described]) -> Vec<u8> {
        let mut graph = 0_u32.to_le_bytes().to_vec();
        graph.extend((nodes.len() as u32).to_le_bytes());
        graph.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
        graph.extend((tensors.len() as u32).to_le_bytes());
        graph.extend(tensors.iter().flat_map(|tensor| &tensor.0));
        graph
    }

    #[test]
    fn payload_lengths_are_checked_per_command() {
        let inspector = inspector();
        for (command, length) in [
            (Command::DeviceCount, 1),
            (Command::AllocBuffer, 11),
            (Command::SetTensor, SET_TENSOR_HEADER_BYTES as u64 - 1),
            // Larger than the largest buffer.
            (Command::SetTensor, SET_TENSOR_HEADER_BYTES as u64 + SIZE + 1),
            (Command::SetTensor, u64::MAX),
            (Command::GraphCompute, 11),
            (Command::GraphCompute, 1 << 40),
            (Command::GetTensor, TENSOR_BYTES as u64),
        ] {
            assert!(inspector.check_length(command, length).is_err(), "{command:?} {length}");
        }
        let most = SET_TENSOR_HEADER_BYTES as u64 + SIZE;
        assert!(inspector.check_length(Command::SetTensor, most).is_ok());
    }

    #[test]
    fn unknown_buffers_are_rejected() {
        let inspector = &mut inspector();
        assert!(check(inspector, Command::GetAlignment, vec![1, 0, 0, 0]).is_ok());
        assert_refused(inspector, Command::GetAlignment, vec![2, 0, 0, 0], "no device 2");
        assert_refused(inspector, Command::AllocBuffer, alloc(2, 1), "no device 2");
        assert_refused(inspector, Command::AllocBuffer, alloc(0, 1 << 20), "which has 1048576");
        assert_refused(inspector, Command::AllocBuffer, alloc(0, u64::MAX), "which has 1048576");
        assert!(check(inspector, Command::AllocBuffer, alloc(1, 1 << 40)).is_ok());
        let handle = || HANDLE.to_le_bytes().to_vec();
        let stranger = || 0x7008_u64.to_le_bytes().to_vec();
        for command in [Command::BufferGetBase, Command::FreeBuffer] {
            assert_refused(inspector, command, stranger(), "no buffer 0x7008");
        }
        assert!(check(inspector, Command::BufferGetBase, handle()).is_ok());
        assert_refused(inspector, Command::GraphRecompute, vec![0; 4], "no graph");
        let sum = Described::computed(1, sys::GGML_OP_SQR, &[2]);
        let whole = graph(&[1], &[sum, Described::new(2)]);
        assert_eq!(check(inspector, Command::GraphCompute, whole), Ok(()));
        assert_eq!(check(inspector, Command::GraphRecompute, vec![0; 4]), Ok(()));
        assert!(check(inspector, Command::FreeBuffer, handle()).is_ok());
        assert_refused(inspector, Command::FreeBuffer, handle(), "no buffer");
        assert_refused(inspector, Command::GraphRecompute, vec![0; 4], "no graph");
        assert_refused(inspector, Command::InitTensor, Described::new(1).0, "no buffer");
        assert_refused(inspector, Command::Hello, vec![0; 24], "greets twice");
    }

    #[test]
    fn invalid_tensors_are_rejected() {
        let inspector = &mut inspector();
        let mut refused = |change: &dyn Fn(&mut Described), why: &str| {
            let mut tensor = Described::new(1);
            change(&mut tensor);
            assert_refused(inspector, Command::InitTensor, tensor.0, why);
        };
        // Removed types and invalid numbers.
        for number in [4, 5, 31, 36, 43, u32::MAX] {
            refused(&|it| _ = it.set_short(place::TYPE, number), "no type");
        }
        refused(&|it| _ = it.set_short(place::OPERATION, 101), "no operation");
        refused(&|it| _ = it.set(place::BUFFER, 1), "no buffer 0x1");
        refused(&|it| _ = it.set(place::BUFFER, 0), "not in its buffer");
        refused(&|it| _ = it.set(place::BUFFER, 0).set(place::DATA, 0), "in no buffer");
        refused(&|it| _ = it.set(place::DATA, BASE - 4), "not in its buffer");
        refused(&|it| _ = it.set(place::DATA, BASE + SIZE - 124), "not in its buffer");
        refused(&|it| _ = it.set(place::DATA, u64::MAX - 4), "not in its buffer");
        refused(&|it| _ = it.shape(F32, [8, 4, 2, 2], [4, 32, 4000, 4]), "not in its buffer");
        let most = u32::MAX;
        refused(&|it| _ = it.shape(F32, [most; 4], [0; 4]), "cannot be");
        refused(&|it| _ = it.shape(F32, [most, most, 0, most], [0; 4]), "cannot be");
        refused(&|it| _ = it.shape(F32, [most, most / 2, 1, 1], [most; 4]), "cannot be");
        refused(&|it| _ = it.shape(F32, [1, most, most / 4, 1], [most; 4]), "cannot be");
        refused(&|it| _ = it.shape(Q4_0, [33, 1, 1, 1], [18; 4]), "cannot be");
        // A row of blocks with a stride smaller than a block.
        refused(
            &|it| _ = it.shape(Q4_0, [32, 1, 1, 1], [0; 4]).set(place::DATA, BASE + SIZE - 17),
            "not in its",
        );
        let mut last = Described::new(1);
        last.set(place::DATA, BASE + SIZE - 128);
        assert_eq!(check(inspector, Command::InitTensor, last.0.clone()), Ok(()));
        last.set(place::DATA, BASE + SIZE).shape(F32, [0, 4, 1, 1], [4, 0, 0, 0]);
        assert_eq!(check(inspector, Command::InitTensor, last.0), Ok(()));
    }

    #[test]
    fn data_stays_in_its_tensor() {
        let inspector = &mut inspector();
        let tensor = Described::new(1).0;
        let part = |offset: u64, size: u64| {
            [&tensor[..], &offset.to_le_bytes(), &size.to_le_bytes()].concat()
        };
        for (offset, size) in [(0, 128), (128, 0), (4, 124)] {
            assert_eq!(check(inspector, Command::GetTensor, part(offset, size)), Ok(()));
        }
        for (offset, size) in [(0, 129), (129, 0), (u64::MAX, 1), (8, u64::MAX), (4, 125)] {
            assert_refused(inspector, Command::GetTensor, part(offset, size), "has no");
            let mut value = part(offset, size);
            value.push(7);
            assert_refused(inspector, Command::MemsetTensor, value, "has no");
        }
        let set = |offset: u64, data: usize| {
            [&tensor[..], &[0], &offset.to_le_bytes(), &vec![0; data]].concat()
        };
        assert_eq!(check(inspector, Command::SetTensor, set(0, 128)), Ok(()));
        assert_refused(inspector, Command::SetTensor, set(1, 128), "has no");
        assert_refused(inspector, Command::SetTensorHash, part(129, 0), "has no");
        let mut small = Described::new(2);
        small.shape(F32, [8, 3, 1, 1], [4, 32, 96, 96]);
        let copy = |from: &[u8], to: &[u8]| [from, to].concat();
        assert_eq!(check(inspector, Command::CopyTensor, copy(&small.0, &tensor)), Ok(()));
        assert_refused(inspector, Command::CopyTensor, copy(&tensor, &small.0), "smaller");
    }

    #[test]
    fn buffers_of_other_workers_are_cleared() {
        let inspector = &mut inspector();
        let mut stranger = Described::new(2);
        stranger.set(place::BUFFER, 0x9999).set(place::DATA, 0x9999);
        let sources: Vec<u8> = [&stranger.0[..], &vec![0; 9 * TENSOR_BYTES]].concat();
        let tensor = Described::computed(1, sys::GGML_OP_SQR, &[2]);
        let mut carried = [&[0; 4][..], &tensor.0, &sources].concat();
        let length = carried.len() as u64;
        inspector.check(Command::GetAllocSize, &mut carried, length).unwrap();
        let source = &carried[4 + TENSOR_BYTES..];
        assert_eq!((u64_at(source, place::BUFFER), u64_at(source, place::DATA)), (0, 0));
        let missing = [&[0; 4][..], &tensor.0, &vec![0; 10 * TENSOR_BYTES]].concat();
        assert_refused(
            inspector,
            Command::GetAllocSize,
            missing,
            "source 0 of a tensor is missing",
        );
    }

    #[test]
    fn graphs_must_be_complete_and_acyclic() {
        let inspector = &mut inspector();
        let leaf = || Described::new(1);
        let sum = |name, sources: &[u64]| Described::computed(name, sys::GGML_OP_ADD, sources);
        let mut refused = |nodes: &[u64], tensors: &[Described], why: &str| {
            assert_refused(inspector, Command::GraphCompute, graph(nodes, tensors), why);
        };
        refused(&[], &[leaf()], "no nodes");
        refused(&[2], &[leaf(), sum(2, &[1, 3])], "no tensor 0x3");
        refused(&[9], &[leaf()], "no tensor 0x9");
        refused(&[0], &[leaf()], "no tensor 0x0");
        refused(&[2, 2], &[leaf(), sum(2, &[1, 1])], "several nodes");
        refused(&[2], &[leaf(), leaf(), sum(2, &[1, 1])], "several tensors");
        refused(&[2], &[leaf(), sum(2, &[1, 2])], "circle");
        refused(&[2], &[leaf(), sum(2, &[1, 3]), sum(3, &[1, 2])], "circle");
        refused(&[2], &[leaf(), sum(2, &[1])], "has 1 sources, and needs 2");
        refused(&[2], &[leaf(), sum(2, &[0, 1])], "has 1 sources, and needs 2");
        let mut nowhere = leaf();
        nowhere.set(place::BUFFER, 0).set(place::DATA, 0);
        refused(&[2], &[nowhere.clone(), sum(2, &[1, 1])], "in no buffer");
        let mut nowhere = sum(2, &[1, 1]);
        nowhere.set(place::BUFFER, 0).set(place::DATA, 0);
        refused(&[2], &[leaf(), nowhere], "in no buffer");
        // Such a node would call a function at an address of the client's choice.
        for operation in [sys::GGML_OP_CUSTOM, sys::GGML_OP_MAP_CUSTOM1] {
            let call = Described::computed(2, operation, &[1]);
            refused(&[2], &[leaf(), call], "calls functions");
        }
        for operation in [sys::GGML_OP_UNARY, sys::GGML_OP_GLU] {
            let mut node = Described::computed(2, operation, &[1]);
            node.set_short(place::PARAMETERS, 99);
            refused(&[2], &[leaf(), node], "no variant 99");
        }
        let deep: Vec<_> = (2..6000)
            .map(|name| Described::computed(name, sys::GGML_OP_SQR, &[name - 1]))
            .chain([leaf()])
            .collect();
        refused(&[5999], &deep, "too deep");
        // In topological order, no node is deeper than one.
        let in_order: Vec<u64> = (2..6000).collect();
        let whole = graph(&in_order, &deep);
        assert_eq!(check(inspector, Command::GraphCompute, whole), Ok(()));
        // Counts that do not match the data.
        for (at, number) in [(4, u32::MAX), (4, 1 << 31), (4, 2), (16, 3), (16, u32::MAX)] {
            let mut graph = graph(&[2], &[leaf(), sum(2, &[1, 1])]);
            graph[at..at + 4].copy_from_slice(&number.to_le_bytes());
            let refusal = check(inspector, Command::GraphCompute, graph);
            assert!(refusal.is_err(), "{number} at {at}");
        }
        let mut short = graph(&[2], &[leaf(), sum(2, &[1, 1])]);
        short.truncate(short.len() - 1);
        assert_refused(inspector, Command::GraphCompute, short, "another length");
    }
}
