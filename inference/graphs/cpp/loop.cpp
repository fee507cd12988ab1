// A loop around the function of a compiled graph: many training steps in one call.
//
// Between two steps of a small program Python takes a fifth of the time: it looks whether all is as
// it was, and hands over each tensor. In a loop it does so once for many steps, as by JAX's
// `lax.scan`.

// Calls the graph's function for each set of inputs in turn, as long as its value is finite.
static PyObject* pyro_vae_loop(PyObject*, PyObject* args) {
    PyObject *own_list, *input_list;
    Py_ssize_t calls;
    PyTypeObject* list = &PyList_Type;
    if (!PyArg_ParseTuple(args, "O!O!n", list, &own_list, list, &input_list, &calls))
        return nullptr;
    try {
        auto own_handles = unpack_tensor_handle_list(own_list);
        auto input_handles = unpack_tensor_handle_list(input_list);
        auto own = steal_from_raw_handles_to_raii_handles(own_handles.data(), own_handles.size());
        auto inputs =
            steal_from_raw_handles_to_raii_handles(input_handles.data(), input_handles.size());
        const size_t of_each = inputs.size() / static_cast<size_t>(calls);
        std::vector<RAIIAtenTensorHandle> values;
        std::vector<AtenTensorHandle> handles(own.size() + of_each);
        bool is_finite = true;
        for (size_t call = 0; is_finite && call < static_cast<size_t>(calls); call++) {
            for (size_t i = 0; i < own.size(); i++)
                AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(own[i], &handles[i]));
            for (size_t i = 0; i < of_each; i++)
                handles[own.size() + i] = inputs[call * of_each + i].release();
            AtenTensorHandle value = nullptr;
            inductor_entry_impl(handles.data(), &value);
            values.emplace_back(value);
            int32_t type;
            AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(value, &type));
            if (type == aoti_torch_dtype_float64()) {
                double number;
                AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_item_float64(value, &number));
                is_finite = std::isfinite(number);
            } else {
                float number;
                AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_item_float32(value, &number));
                is_finite = std::isfinite(number);
            }
        }
        PyObject* result = PyList_New(values.size());
        for (size_t i = 0; i < values.size(); i++)
            PyList_SET_ITEM(result, i, PyCapsule_New(values[i].release(), NULL, NULL));
        return result;
    } catch (std::exception const& e) {
        PyErr_SetString(PyExc_RuntimeError, e.what());
        return nullptr;
    }
}
